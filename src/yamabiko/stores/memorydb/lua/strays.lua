#!lua flags=no-writes
-- For each key of a question: nil where it is gone, else 1 or 0 (its entry's anchor names it or not) and the answer record
-- where it is asked for. ARGV 1: prefix of anchors, 2: field of the answer or nothing.
local found = {}
for i, key in ipairs(KEYS) do
  local id = redis.call('HGET', key, 'e')
  found[i] = false
  if id then
    local digests = redis.call('HGET', ARGV[1] .. id, 'k')
    local named = digests and string.find(digests, string.sub(key, -64), 1, true)
    found[i] = {named and 1 or 0, ARGV[2] ~= '' and redis.call('HGET', key, ARGV[2])}
  end
end
return found
