#!lua
-- Replace a value whose version is still the expected one. The new version, or nil.
-- KEYS: value. ARGV: expected version or nothing, data.
if (redis.call('HGET', KEYS[1], 'v') or '') ~= ARGV[1] then
  return false
end
redis.call('HSET', KEYS[1], 'd', ARGV[2])
return redis.call('HINCRBY', KEYS[1], 'v', 1)
