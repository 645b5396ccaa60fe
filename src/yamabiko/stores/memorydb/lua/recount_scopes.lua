#!lua flags=allow-oom
-- Add to the numbers of entries per scope. KEYS: scopes. ARGV: scopes and numbers, in turn.
for i = 1, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
