#!lua flags=allow-oom
-- From now on no answer is stored whose making was claimed before. KEYS: fence, barrier.
if redis.call('EXISTS', KEYS[1]) == 0 then -- new, or evicted: go on above all that was ever given out
  local time = redis.call('TIME')
  redis.call('SET', KEYS[1], time[1] .. string.format('%06d', time[2]))
end
local fence = redis.call('INCR', KEYS[1])
redis.call('SET', KEYS[2], fence)
return fence
