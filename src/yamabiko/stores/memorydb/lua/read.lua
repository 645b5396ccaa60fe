-- The questions of these keys with their answers; nil for one that is gone, or that its entry's anchor does not name.
-- ARGV 1: prefix of anchors, 2: field of the scope. Each digest comes back: a reply can be told from another's.
-- ARGV 3, if given: two more keys, barrier and purged; for a question that is not there the fence of the last purge comes.
local found = {}
for i = 1, #KEYS - (ARGV[3] and 2 or 0) do
  local f = redis.call('HMGET', KEYS[i], 'a', 't', 'e', ARGV[2], 'g')
  found[i] = false
  if f[1] and f[3] then
    local digest = string.sub(KEYS[i], -64)
    local digests = redis.call('HGET', ARGV[1] .. f[3], 'k')
    if digests and string.find(digests, digest, 1, true) then
      found[i] = {digest, f[1], f[2], f[4], f[5]}
    end
  end
  if ARGV[3] and not found[i] then
    found[i] = last_purge(KEYS[#KEYS - 1], KEYS[#KEYS])
  end
end
return found
