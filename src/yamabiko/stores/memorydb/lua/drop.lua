-- Remove those of these questions that no anchor names; how many. ARGV 4...: digests.
local dropped = 0
for i = 4, #ARGV do
  local key = QUESTIONS .. ARGV[i]
  local id = redis.call('HGET', key, 'e')
  if id then
    local digests = redis.call('HGET', ANCHORS .. id, 'k')
    if not (digests and string.find(digests, ARGV[i], 1, true)) then
      redis.call('DEL', key)
      dropped = dropped + 1
    end
  end
end
return dropped
