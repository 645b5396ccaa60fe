-- Take members whose entry has no anchor out of a side set. ARGV 4: its key, then members.
for i = 5, #ARGV do
  if redis.call('EXISTS', ANCHORS .. string.sub(ARGV[i], -DIGEST)) == 0 then
    redis.call('ZREM', ARGV[4], ARGV[i])
  end
end
return 1
