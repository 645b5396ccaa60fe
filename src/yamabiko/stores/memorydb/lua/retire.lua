-- Take the vectors of an index away from these entries' questions. ARGV 4, 5: fields of scope and vector, then ids.
for i = 6, #ARGV do
  local anchor = load(ARGV[i])
  if anchor then
    for _, q in ipairs(anchor.questions) do
      redis.call('HDEL', QUESTIONS .. q.digest, ARGV[4], ARGV[5])
    end
  end
end
return 1
