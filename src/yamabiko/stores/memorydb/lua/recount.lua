#!lua flags=allow-oom
-- Set the counters to what was counted, unless somebody has changed them meanwhile. 1: set, 0: changed. The numbers of
-- entries per scope are then to be counted anew: see recount_scopes.
-- KEYS: counters, scopes. ARGV: questions, vectors and payload_bytes as they were, and the same as they are.
local names = {'questions', 'vectors', 'payload_bytes'}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  if (value or '0') ~= ARGV[i] then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'questions', ARGV[4], 'vectors', ARGV[5], 'payload_bytes', ARGV[6])
redis.call('UNLINK', KEYS[2])
return 1
