#!lua flags=no-writes
-- For each key of a question: nil where it is gone, else 1 or 0 (its entry's anchor names it or not), entry, answer record.
-- ARGV 1: prefix of anchors.
local found = {}
for i, key in ipairs(KEYS) do
  local f = redis.call('HMGET', key, 'e', 'a')
  found[i] = false
  if f[1] then
    local digests = redis.call('HGET', ARGV[1] .. f[1], 'k')
    local named = digests and string.find(digests, string.sub(key, -64), 1, true)
    found[i] = {named and 1 or 0, f[1], f[2]}
  end
end
return found
