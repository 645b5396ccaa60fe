#!lua flags=no-writes
-- What is wrong with these entries, looked at in one moment. KEYS: all, life. ARGV: prefixes of questions, anchors and
-- side sets, field of the vector, bytes of a vector, then ids. Returns questions, vectors, bytes, scopes, faults.
local questions, vectors, bytes, scopes, faults = 0, 0, 0, {}, {}
local QUESTIONS, ANCHORS, SIDES = ARGV[1], ARGV[2], ARGV[3]

local function fault(id, text)
  faults[#faults + 1] = 'entry ' .. id .. ' ' .. text
end

local function audit_question(id, digest, vector)
  local key = QUESTIONS .. digest
  local f = redis.call('HMGET', key, 'e', 'a', 't', ARGV[4])
  if not f[1] then
    fault(id, 'has a question that is gone')
  elseif f[1] ~= id then
    fault(id, 'claims a question of entry ' .. f[1])
  elseif not f[2] or not f[3] then
    fault(id, 'has a question without its records')
  elseif redis.call('PTTL', key) < 0 then
    fault(id, 'has a question that never expires')
  elseif f[4] and #f[4] ~= tonumber(ARGV[5]) then
    fault(id, 'has a vector of another length')
  elseif f[4] and vector == '0' then
    fault(id, 'has a vector that is not counted')
  end
end

for i = 6, #ARGV do
  local id = ARGV[i]
  local f = redis.call('HMGET', ANCHORS .. id, 'k', 'w', 'b', 'd', 's', 'n')
  if not f[1] then
    fault(id, 'is listed and has no anchor')
  else
    scopes[#scopes + 1] = f[4]
    bytes = bytes + f[3]
    for at = 0, #f[1] / 64 - 1 do
      local w = string.sub(f[2], at * 9 + 1, at * 9 + 9)
      questions, vectors = questions + 1, vectors + string.sub(w, 9)
      bytes = bytes + tonumber(string.sub(w, 1, 8), 16)
      audit_question(id, string.sub(f[1], at * 64 + 1, at * 64 + 64), string.sub(w, 9))
    end
    local member = f[6] .. id
    if not redis.call('ZSCORE', KEYS[1], member) then
      fault(id, 'is not listed')
    end
    if not redis.call('ZSCORE', KEYS[2], member) then
      fault(id, 'has no expiry listed')
    end
    for token in string.gmatch(f[5], '[^ ]+') do
      if string.sub(token, -1) ~= '-' and not redis.call('ZSCORE', SIDES .. token, member) then
        fault(id, 'is not in the side set ' .. token)
      end
    end
  end
end
return {questions, vectors, bytes, scopes, faults}
