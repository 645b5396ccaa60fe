-- A fence for what begins now. KEYS: fence, barrier, purged.
barrier_of(KEYS[1], KEYS[2], KEYS[3])
return redis.call('GET', KEYS[1])
