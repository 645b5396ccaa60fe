-- Stands before every script that writes.
-- KEYS: all, life, scopes, counters, then the script's own. ARGV: prefixes of questions, anchors and side sets, then its own.
local ALL, LIFE, SCOPES, COUNTERS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local QUESTIONS, ANCHORS, SIDES = ARGV[1], ARGV[2], ARGV[3]
local DIGEST, WEIGHT = 64, 9

local function count(field, by)
  if by ~= 0 then
    redis.call('HINCRBY', COUNTERS, field, by)
  end
end

-- An entry's anchor, or nil. questions: list of {digest, weight, vector}, the oldest first.
local function load(id)
  local f = redis.call('HMGET', ANCHORS .. id, 'k', 'w', 'b', 'd', 's', 'x', 'n', 'c')
  if not f[1] then
    return nil
  end
  local questions = {}
  for i = 0, #f[1] / DIGEST - 1 do
    local w = string.sub(f[2], i * WEIGHT + 1, (i + 1) * WEIGHT)
    questions[i + 1] = {
      digest = string.sub(f[1], i * DIGEST + 1, (i + 1) * DIGEST),
      weight = tonumber(string.sub(w, 1, 8), 16),
      vector = tonumber(string.sub(w, 9)),
    }
  end
  return {
    id = id, questions = questions, bytes = tonumber(f[3]), scope = f[4], sides = f[5], x = tonumber(f[6]),
    number = f[7], created = f[8],
  }
end

-- What stands for an entry in the sorted sets: of equal scores, the one stored first comes first.
local function member(anchor)
  return anchor.number .. anchor.id
end

-- Whether a member of a sorted set stands for an entry: not one of an anchor that is gone or was made anew.
local function stands(listed)
  local id = string.sub(listed, -DIGEST)
  local number = redis.call('HGET', ANCHORS .. id, 'n')
  return number and number .. id == listed
end

-- Write which questions an anchor has, and count the difference from what it had.
local function keep_questions(anchor, questions)
  local digests, weights = {}, {}
  local number, vectors, bytes = 0, 0, 0
  for i, q in ipairs(questions) do
    digests[i] = q.digest
    weights[i] = string.format('%08x%d', q.weight, q.vector)
    number, vectors, bytes = number + 1, vectors + q.vector, bytes + q.weight
  end
  for _, q in ipairs(anchor.questions) do
    number, vectors, bytes = number - 1, vectors - q.vector, bytes - q.weight
  end
  count('questions', number)
  count('vectors', vectors)
  count('payload_bytes', bytes)
  anchor.questions = questions
  if #questions > 0 then
    redis.call('HSET', ANCHORS .. anchor.id, 'k', table.concat(digests), 'w', table.concat(weights))
  end
end

local function each_side(sides, change)
  for token in string.gmatch(sides, '[^ ]+') do
    if string.sub(token, -1) ~= '-' then -- of an empty name there is no set
      change(SIDES .. token, token)
    end
  end
end

-- Whether an entry, by its side sets and its id, is one of those asked for.
local function fits(id, sides, asked)
  for token in string.gmatch(asked, '[^ ]+') do
    local uri, digest = string.match(token, '^not:of:([^:]+):(.+)$')
    if uri then -- a state of the document other than this one, or one that nobody knows
      local known, other = false, false
      for state in string.gmatch(sides, 'of:' .. uri .. ':(%x+)%-') do
        known, other = true, other or state ~= digest
      end
      if known and not other then
        return false
      end
    elseif string.sub(token, 1, 3) == 'id:' then
      if token ~= 'id:' .. id then
        return false
      end
    elseif not string.find(sides, token, 1, true) then
      return false
    end
  end
  return true
end

local function owned(digest, id)
  return redis.call('HGET', QUESTIONS .. digest, 'e') == id
end

local function leave_scope(scope)
  if redis.call('HINCRBY', SCOPES, scope, -1) <= 0 then
    redis.call('HDEL', SCOPES, scope)
  end
end

-- Remove all of an entry; how many of its questions were still there.
local function forget(anchor)
  local there = 0
  for _, q in ipairs(anchor.questions) do
    if owned(q.digest, anchor.id) then
      redis.call('DEL', QUESTIONS .. q.digest)
      there = there + 1
    end
  end
  keep_questions(anchor, {})
  count('payload_bytes', -anchor.bytes)
  redis.call('ZREM', ALL, member(anchor))
  redis.call('ZREM', LIFE, member(anchor))
  each_side(anchor.sides, function(set)
    redis.call('ZREM', set, member(anchor))
  end)
  leave_scope(anchor.scope)
  redis.call('DEL', ANCHORS .. anchor.id)
  return there
end

-- A question goes over to another entry; one that has none left is gone.
local function lose(owner, digest)
  local anchor = load(owner)
  if not anchor then
    return
  end
  local rest = {}
  for _, q in ipairs(anchor.questions) do
    if q.digest ~= digest then
      rest[#rest + 1] = q
    end
  end
  keep_questions(anchor, rest)
  if #rest == 0 then
    forget(anchor)
  end
end

-- Keep what binds a question, just written, to its entry.
local function sign(q)
  if q.signature ~= '' then
    redis.call('HSET', QUESTIONS .. q.digest, 'g', q.signature)
  end
end

-- Make room for the question: whoever had it loses it.
local function take(digest, id)
  local owner = redis.call('HGET', QUESTIONS .. digest, 'e')
  if owner and owner ~= id then
    lose(owner, digest)
  end
  redis.call('DEL', QUESTIONS .. digest)
end
