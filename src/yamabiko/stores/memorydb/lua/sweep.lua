-- Let go of what the server has expired or evicted: questions that are gone, and entries without any.
-- ARGV 4...: members of the listing. Returns how many questions were gone.
local gone = 0
for i = 4, #ARGV do
  local anchor = stands(ARGV[i]) and load(string.sub(ARGV[i], -DIGEST))
  if anchor then
    local there = {}
    for _, q in ipairs(anchor.questions) do
      if owned(q.digest, anchor.id) then
        there[#there + 1] = q
      end
    end
    if #there < #anchor.questions then
      gone = gone + #anchor.questions - #there
      keep_questions(anchor, there)
      if #there == 0 then
        forget(anchor)
      end
    end
  else
    redis.call('ZREM', ALL, ARGV[i])
    redis.call('ZREM', LIFE, ARGV[i])
  end
end
return gone
