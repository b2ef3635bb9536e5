-- Ends a session with everything that belongs to it.
-- KEYS: the session, then whatever belongs to it.
-- Returns `ended` and the fields that stand for holders; or `gone`.
local answer = {'ended'}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  end
end
if redis.call('DEL', KEYS[1]) == 0 then
  answer = {'gone'}
end
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
end
return answer
