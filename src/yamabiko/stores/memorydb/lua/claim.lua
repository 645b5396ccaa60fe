#!lua
-- The lease on a name: holder and fence; nil while another holder has it. Of an open name nobody is the holder.
-- KEYS: lease, fence, barrier. ARGV: holder, milliseconds.
local lease = redis.call('GET', KEYS[1])
if lease then
  local fence, holder = string.match(lease, '^(%d+) (.*)$')
  if tonumber(fence) > tonumber(redis.call('GET', KEYS[3]) or 0) then -- no purge has ended it
    if holder == '' then
      return {'', redis.call('GET', KEYS[2]) or fence}
    end
    return holder == ARGV[1] and {holder, fence}
  end
end
if redis.call('EXISTS', KEYS[2]) == 0 then -- a counter that a server has evicted must not begin again below old fences
  local time = redis.call('TIME')
  redis.call('SET', KEYS[2], time[1] .. string.format('%06d', time[2]))
end
redis.call('INCR', KEYS[2])
local fence = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[1], fence .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {ARGV[1], fence}
