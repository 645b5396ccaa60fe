-- Write the sorted sets of these entries anew, where the server has evicted them; forget those without any question left.
-- ARGV 4...: ids.
for i = 4, #ARGV do
  local anchor = load(ARGV[i])
  local expiry = nil
  for _, q in ipairs(anchor and anchor.questions or {}) do
    expiry = expiry or owned(q.digest, anchor.id) and redis.call('PEXPIRETIME', QUESTIONS .. q.digest)
  end
  if expiry then
    redis.call('ZADD', ALL, anchor.created, member(anchor))
    redis.call('ZADD', LIFE, expiry, member(anchor))
    each_side(anchor.sides, function(set)
      redis.call('ZADD', set, anchor.created, member(anchor))
    end)
  elseif anchor then
    forget(anchor)
  end
end
return 1
