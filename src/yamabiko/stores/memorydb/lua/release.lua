#!lua flags=allow-oom
-- End a lease. 1: done, 0: it is over. KEYS: lease, barrier. ARGV: holder, milliseconds that the name stays open.
local fence, holder = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.+)$')
local barrier = redis.call('GET', KEYS[2])
if holder ~= ARGV[1] or not barrier or tonumber(fence) <= tonumber(barrier) then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
redis.call('SET', KEYS[1], fence .. ' ', 'PX', ARGV[2])
return 1
