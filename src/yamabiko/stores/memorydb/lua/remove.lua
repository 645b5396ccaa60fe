-- Remove those of these entries that fit; how many of them were still there.
-- ARGV 4: the latest stale_until or nothing, 5: side sets that they must be in, 6: prefix of shared state, then ids.
local dead_at, sides, shared = tonumber(ARGV[4]), ARGV[5], ARGV[6]

-- What an entry was no answer to is forgotten with it.
local function pardon(id)
  local pairs_key = shared .. 'pairs:' .. id
  for _, digest in ipairs(redis.call('ZRANGE', pairs_key, 0, -1)) do
    redis.call('ZREM', shared .. 'out:' .. digest, id)
  end
  redis.call('DEL', pairs_key)
end

local removed = 0
for i = 7, #ARGV do
  local id = ARGV[i]
  local anchor = load(id)
  if anchor then
    if (not dead_at or anchor.x <= dead_at) and fits(id, anchor.sides, sides) then
      pardon(id)
      if forget(anchor) > 0 then
        removed = removed + 1
      end
    end
  elseif not dead_at and sides == '' and owned(id, id) then -- the server has let its anchor go
    redis.call('DEL', QUESTIONS .. id)
    removed = removed + 1
  end
end
return removed
