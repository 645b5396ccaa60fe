-- From now on no answer that fits is stored whose making was begun before. KEYS: fence, barrier, purged.
-- ARGV 1: what must fit, nothing for everything, 2: how many of these are told apart.
barrier_of(KEYS[1], KEYS[2], KEYS[3])
redis.call('INCR', KEYS[1])
local fence = redis.call('GET', KEYS[1])
if ARGV[1] == '' then
  redis.call('SET', KEYS[2], fence)
  redis.call('DEL', KEYS[3])
  redis.call('ZADD', KEYS[3], 0, '')
  return fence
end
redis.call('ZADD', KEYS[3], fence, ARGV[1])
local excess = redis.call('ZCARD', KEYS[3]) - 1 - tonumber(ARGV[2])
if excess > 0 then -- the oldest, behind the empty one, become one barrier for everything
  local old = redis.call('ZRANGE', KEYS[3], 1, excess, 'WITHSCORES')
  for i = 1, #old, 2 do
    if tonumber(old[i + 1]) > tonumber(redis.call('GET', KEYS[2])) then
      redis.call('SET', KEYS[2], string.format('%.0f', tonumber(old[i + 1])))
    end
    redis.call('ZREM', KEYS[3], old[i])
  end
end
return fence
