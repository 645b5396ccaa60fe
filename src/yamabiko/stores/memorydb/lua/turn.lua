#!lua flags=allow-oom
-- Whether it is the caller's turn; then it is nobody else's for so long. KEYS: turn. ARGV: milliseconds.
return redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) and 1 or 0
