#!lua flags=no-writes
-- KEYS: all, scopes, counters.
return {
  redis.call('ZCARD', KEYS[1]),
  redis.call('HLEN', KEYS[2]),
  redis.call('HMGET', KEYS[3], 'questions', 'vectors', 'payload_bytes'),
}
