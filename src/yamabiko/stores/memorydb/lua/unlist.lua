-- Take members that stand for no entry out of a side set: of one whose anchor is gone, or was made anew under another
-- number. ARGV 4: its key, then members.
for i = 5, #ARGV do
  if not stands(ARGV[i]) then
    redis.call('ZREM', ARGV[4], ARGV[i])
  end
end
return 1
