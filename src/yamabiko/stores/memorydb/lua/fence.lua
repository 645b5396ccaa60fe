-- A fence for what begins now. KEYS: fence, barrier.
barrier_of(KEYS[1], KEYS[2])
return redis.call('GET', KEYS[1])
