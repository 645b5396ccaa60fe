-- The lease on a name: holder and fence; nil while another holder has it. Of an open name nobody is the holder.
-- KEYS: lease, fence, barrier, purged. ARGV: holder, milliseconds.
local barrier = barrier_of(KEYS[2], KEYS[3], KEYS[4])
local lease = redis.call('GET', KEYS[1])
if lease then
  local fence, holder = string.match(lease, '^(%d+) (.*)$')
  if tonumber(fence) > barrier then -- no purge has ended it
    if holder == '' then
      return {'', redis.call('GET', KEYS[2])}
    end
    return holder == ARGV[1] and {holder, fence}
  end
end
redis.call('INCR', KEYS[2])
local fence = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {ARGV[1], fence}
