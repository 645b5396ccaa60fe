#!lua flags=no-writes
-- The questions of these keys with their answers; nil for one that is gone, or that its entry's anchor does not name.
-- ARGV 1: prefix of anchors, 2: field of the scope. Each digest comes back: a reply can be told from another's.
local found = {}
for i, key in ipairs(KEYS) do
  local f = redis.call('HMGET', key, 'a', 't', 'e', ARGV[2], 'g')
  found[i] = false
  if f[1] and f[3] then
    local digest = string.sub(key, -64)
    local digests = redis.call('HGET', ARGV[1] .. f[3], 'k')
    if digests and string.find(digests, digest, 1, true) then
      found[i] = {digest, f[1], f[2], f[4], f[5]}
    end
  end
end
return found
