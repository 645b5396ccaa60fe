-- Store an answer and its questions, with their expiry, in one step. 1: stored, 0: a purge that means it came in between.
-- KEYS 5: barrier, 6: counter of fences, 7: what was purged with a condition. ARGV 4: id, 5: fence or nothing, 6: scope (content and digest), 7: answer record,
-- 8: stale_until, 9: milliseconds to live, 10: created, 11: bytes without questions, 12: side sets, 13, 14, 15: fields of
-- life, scope and vector, 16: most questions, then for each question digest, text record, weight, vector, signature (both or nothing).
local id, fence, scope, answer, x, ttl = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local created, bytes, sides = ARGV[10], tonumber(ARGV[11]), ARGV[12]
local life_field, scope_field, vector_field, most = ARGV[13], ARGV[14], ARGV[15], tonumber(ARGV[16])

if fence ~= '' then
  -- As long as there was neither a purge nor a claim, nothing is older than a purge.
  local fresh = tonumber(fence) == 0 and redis.call('EXISTS', KEYS[5], KEYS[6]) == 0
  if not fresh then
    if tonumber(fence) < barrier_of(KEYS[6], KEYS[5], KEYS[7]) then
      return 0
    end
    for _, asked in ipairs(redis.call('ZRANGE', KEYS[7], '(' .. fence, '+inf', 'BYSCORE')) do
      if fits(id, sides, asked) then
        return 0
      end
    end
  end
end

local anchor = load(id)
if anchor and anchor.scope ~= scope then
  forget(anchor)
  anchor = nil
end

local new, order = {}, {}
for i = 17, #ARGV, 5 do
  local q = {
    digest = ARGV[i], text = ARGV[i + 1], weight = tonumber(ARGV[i + 2]), bits = ARGV[i + 3],
    vector = ARGV[i + 3] == '' and 0 or 1, signature = ARGV[i + 4],
  }
  new[q.digest] = q
  order[#order + 1] = q
  take(q.digest, id)
end

-- Old questions keep their place; those that the server has let go are forgotten, the oldest in excess removed.
local questions, old = {}, 0
if anchor then
  for _, q in ipairs(anchor.questions) do
    if not new[q.digest] and owned(q.digest, id) then
      old = old + 1
    end
  end
  local excess = old + #order - most
  for _, q in ipairs(anchor.questions) do
    if new[q.digest] then
      questions[#questions + 1] = new[q.digest]
      new[q.digest].placed = true
    elseif owned(q.digest, id) then
      if excess > 0 then
        redis.call('DEL', QUESTIONS .. q.digest)
        excess = excess - 1
      else
        redis.call('HSET', QUESTIONS .. q.digest, 'a', answer, life_field, x)
        redis.call('PEXPIRE', QUESTIONS .. q.digest, ttl)
        questions[#questions + 1] = q
      end
    end
  end
end

local scope_hex = string.sub(scope, DIGEST + 1)
for _, q in ipairs(order) do
  local key = QUESTIONS .. q.digest
  if q.vector == 1 then
    redis.call('HSET', key, 'e', id, 'a', answer, 't', q.text, life_field, x, scope_field, scope_hex, vector_field, q.bits)
  else
    redis.call('HSET', key, 'e', id, 'a', answer, 't', q.text)
  end
  sign(q)
  redis.call('PEXPIRE', key, ttl)
  if not q.placed then
    questions[#questions + 1] = q
  end
end

if anchor then
  count('payload_bytes', bytes - anchor.bytes)
  each_side(anchor.sides, function(set, token)
    if not string.find(sides, token, 1, true) then
      redis.call('ZREM', set, member(anchor))
    end
  end)
else
  anchor = {id = id, questions = {}}
  anchor.number = string.format('%012x', redis.call('HINCRBY', COUNTERS, 'sequence', 1))
  count('payload_bytes', bytes)
  redis.call('HINCRBY', SCOPES, scope, 1)
end
redis.call('HSET', ANCHORS .. id, 'b', bytes, 'd', scope, 's', sides, 'x', x, 'n', anchor.number, 'c', created)
keep_questions(anchor, questions)
redis.call('ZADD', LIFE, redis.call('PEXPIRETIME', QUESTIONS .. order[1].digest), member(anchor))
redis.call('ZADD', ALL, created, member(anchor))
each_side(sides, function(set)
  redis.call('ZADD', set, created, member(anchor))
end)
return 1
