-- Stands before the scripts that deal with fences.
-- The fence of the last purge of everything. Its key is there whenever the counter's is, and so is the set of what was
-- purged with a condition (an empty member at 0 keeps it): where a server has evicted any of them, the next fence is above
-- all that were given out before, and what they were given to counts as begun before a purge.
local function barrier_of(counter, key, purged)
  if redis.call('EXISTS', counter) == 0 then
    local time = redis.call('TIME')
    redis.call('SET', counter, time[1] .. string.format('%06d', time[2]))
  end
  if redis.call('EXISTS', key, purged) < 2 then
    redis.call('SET', key, redis.call('GET', counter))
    redis.call('ZADD', purged, 0, '')
  end
  return tonumber(redis.call('GET', key))
end
