#!lua flags=no-writes
-- These entries with all their questions: for each id nil, or side sets, then for each question digest, answer record,
-- text record, vector and signature. ARGV 1: prefix of questions, 2: prefix of anchors, 3: field of the vector, then ids.
local found = {}
for i = 4, #ARGV do
  local f = redis.call('HMGET', ARGV[2] .. ARGV[i], 'k', 's')
  local entry = false
  if f[1] then
    for at = 1, #f[1], 64 do
      local digest = string.sub(f[1], at, at + 63)
      local q = redis.call('HMGET', ARGV[1] .. digest, 'a', 't', 'e', ARGV[3], 'g')
      if q[1] and q[3] == ARGV[i] then
        entry = entry or {f[2]}
        entry[#entry + 1] = {digest, q[1], q[2], q[4], q[5]}
      end
    end
  end
  found[i - 3] = entry
end
return found
