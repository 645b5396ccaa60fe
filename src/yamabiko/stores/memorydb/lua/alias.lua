-- One more question for an answer. 1: added, 0: the answer is gone or has as many as it may.
-- ARGV 4: id, 5, 6, 7: fields of life, scope and vector, 8: most questions, 9: digest, 10: text record, 11: weight,
-- 12: vector or nothing, 13: signature or nothing.
local id, life_field, scope_field, vector_field, most = ARGV[4], ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])
local q = {
  digest = ARGV[9], text = ARGV[10], weight = tonumber(ARGV[11]), bits = ARGV[12], vector = ARGV[12] == '' and 0 or 1,
  signature = ARGV[13],
}

local anchor = load(id)
if not anchor then
  return 0
end
local sibling, questions, known = nil, {}, false
for _, old in ipairs(anchor.questions) do
  if owned(old.digest, id) then
    sibling = sibling or QUESTIONS .. old.digest
    known = known or old.digest == q.digest
    questions[#questions + 1] = old.digest == q.digest and q or old
  end
end
if not sibling then
  forget(anchor)
  return 0
end
if not known then
  if #questions >= most then
    return 0
  end
  questions[#questions + 1] = q
end
local f = redis.call('HMGET', sibling, 'a', scope_field)
local ttl = redis.call('PTTL', sibling)
take(q.digest, id)
local key = QUESTIONS .. q.digest
if q.vector == 1 then
  local scope = f[2] or string.sub(anchor.scope, DIGEST + 1)
  redis.call('HSET', key, 'e', id, 'a', f[1], 't', q.text, life_field, anchor.x, scope_field, scope, vector_field, q.bits)
else
  redis.call('HSET', key, 'e', id, 'a', f[1], 't', q.text)
end
sign(q)
if ttl > 0 then
  redis.call('PEXPIRE', key, ttl)
end
keep_questions(anchor, questions)
return 1
