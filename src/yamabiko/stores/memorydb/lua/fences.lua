-- Stands before the scripts that deal with fences.
-- The last purge's fence. Its key is there whenever the counter's is: where a server has evicted either, the next one is
-- above all that were given out before, and what they were given to counts as begun before a purge.
local function barrier_of(counter, key)
  if redis.call('EXISTS', counter) == 0 then
    local time = redis.call('TIME')
    redis.call('SET', counter, time[1] .. string.format('%06d', time[2]))
  end
  if redis.call('EXISTS', key) == 0 then
    redis.call('SET', key, redis.call('GET', counter))
  end
  return tonumber(redis.call('GET', key))
end
