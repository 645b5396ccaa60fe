#!lua
-- Until when an entry is no answer to a question, by question and by entry. KEYS: of the question, of the entry.
-- ARGV: entry, digest, until, now, milliseconds that both are kept beyond their last time.
local function note(key, member)
  redis.call('ZADD', key, ARGV[3], member)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ARGV[4])
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
  if last == 'inf' then
    redis.call('PERSIST', key)
  elseif last then
    redis.call('PEXPIRE', key, string.format('%.0f', (tonumber(last) - tonumber(ARGV[4])) * 1000 + ARGV[5]))
  end
end
note(KEYS[1], ARGV[1])
note(KEYS[2], ARGV[2])
return 1
