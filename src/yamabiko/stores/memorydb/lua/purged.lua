-- The fence of the last purge, whatever it meant. KEYS: barrier, purged.
local barrier = redis.call('GET', KEYS[1]) or '0'
local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
if last[2] and tonumber(last[2]) > tonumber(barrier) then
  return string.format('%.0f', tonumber(last[2]))
end
return barrier
