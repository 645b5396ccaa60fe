-- Count how often entries were served; one that is gone stays gone. ARGV 4...: id and number, in turn.
local hits = 0
for i = 4, #ARGV, 2 do
  hits = hits + ARGV[i + 1]
  if redis.call('EXISTS', ANCHORS .. ARGV[i]) == 1 then
    redis.call('HINCRBY', ANCHORS .. ARGV[i], 'h', ARGV[i + 1])
  end
end
count('hits', hits)
return hits
