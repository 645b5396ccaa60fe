#!lua flags=allow-oom
-- Set the counters to what was counted, unless somebody has changed them meanwhile. 1: set, 0: changed.
-- KEYS: counters, scopes. ARGV: questions, vectors and payload_bytes as they were, the same as they are, then scopes and
-- numbers, in turn.
local names = {'questions', 'vectors', 'payload_bytes'}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
  if (value or '0') ~= ARGV[i] then
    return 0
  end
end
redis.call('HSET', KEYS[1], 'questions', ARGV[4], 'vectors', ARGV[5], 'payload_bytes', ARGV[6])
redis.call('DEL', KEYS[2])
for i = 7, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
