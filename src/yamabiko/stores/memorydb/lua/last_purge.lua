-- Stands before the reads that say which purge was the last.
local function last_purge(everything, purged)
  local barrier = redis.call('GET', everything) or '0'
  local last = redis.call('ZRANGE', purged, -1, -1, 'WITHSCORES')
  if last[2] and tonumber(last[2]) > tonumber(barrier) then
    return string.format('%.0f', tonumber(last[2]))
  end
  return barrier
end
