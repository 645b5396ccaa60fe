#!lua flags=allow-oom
-- Forget items of a log and their ids, some at a time; how many. KEYS: log, ids. ARGV: last position, how many at most.
local items = redis.call('XRANGE', KEYS[1], '-', '0-' .. ARGV[1], 'COUNT', ARGV[2])
for _, item in ipairs(items) do
  redis.call('HDEL', KEYS[2], item[2][2])
  redis.call('XDEL', KEYS[1], item[1])
end
return #items
