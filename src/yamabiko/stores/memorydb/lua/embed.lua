-- Give an entry's questions vectors in another index, beside those that they have. 1: done, 0: it is gone or was replaced.
-- ARGV 4: id, 5: created, 6: scope (content and digest) in the new index, 7: answer record with that scope,
-- 8, 9, 10: fields of life, scope and vector, then for each question digest, text record, weight and vector.
local anchor = load(ARGV[4])
if not anchor or anchor.created ~= ARGV[5] then
  return 0
end
local new = {}
for i = 11, #ARGV, 4 do
  new[ARGV[i]] = {
    digest = ARGV[i], text = ARGV[i + 1], weight = tonumber(ARGV[i + 2]), bits = ARGV[i + 3],
    vector = ARGV[i + 3] == '' and 0 or 1,
  }
end
local questions = {}
for i, old in ipairs(anchor.questions) do
  local q = new[old.digest]
  local key = QUESTIONS .. old.digest
  questions[i] = q or old
  if owned(old.digest, anchor.id) then
    redis.call('HSET', key, 'a', ARGV[7])
    if q then
      redis.call('HSET', key, 't', q.text)
      if q.vector == 1 then
        redis.call('HSET', key, ARGV[8], anchor.x, ARGV[9], string.sub(ARGV[6], DIGEST + 1), ARGV[10], q.bits)
      end
    end
  end
end
keep_questions(anchor, questions)
if anchor.scope ~= ARGV[6] then
  leave_scope(anchor.scope)
  redis.call('HINCRBY', SCOPES, ARGV[6], 1)
  redis.call('HSET', ANCHORS .. anchor.id, 'd', ARGV[6])
end
return 1
