#!lua
-- Add items to a log, but for those whose id stands in it; how many. Positions are the second part of a stream's ids,
-- which the server never gives out twice. KEYS: log, ids. ARGV: id and data, in turn.
local added = 0
if redis.call('EXISTS', KEYS[1]) == 0 then -- new, or evicted: then none of the ids stands in it any more
  redis.call('DEL', KEYS[2])
end
for i = 1, #ARGV, 2 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 0 then
    local at = '0-*'
    if redis.call('EXISTS', KEYS[1]) == 0 then -- one that a server has evicted goes on above its old positions
      local time = redis.call('TIME')
      at = '0-' .. time[1] .. string.format('%06d', time[2])
    end
    redis.call('XADD', KEYS[1], at, 'i', ARGV[i], 'd', ARGV[i + 1])
    redis.call('HSET', KEYS[2], ARGV[i], '')
    added = added + 1
  end
end
return added
