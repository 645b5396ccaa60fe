#!lua flags=allow-oom
-- Prolong a lease. 1: done, 0: it is over. KEYS: lease, barrier. ARGV: holder, milliseconds.
local fence, holder = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.+)$')
local barrier = redis.call('GET', KEYS[2])
if holder ~= ARGV[1] or not barrier or tonumber(fence) <= tonumber(barrier) then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
