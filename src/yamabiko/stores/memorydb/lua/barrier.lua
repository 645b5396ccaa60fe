-- From now on no answer is stored whose making was claimed before. KEYS: fence, barrier.
barrier_of(KEYS[1], KEYS[2])
redis.call('INCR', KEYS[1])
local fence = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[2], fence)
return fence
