-- Ends a session with everything that belongs to it. Before it stands log.lua.
-- Returns `ended` and the fields that stand for holders; or `gone`.
local answer = {'ended'}
for _, field in ipairs(redis.call('HKEYS', session)) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  end
end
if redis.call('DEL', session) == 0 then
  answer = {'gone'}
end
-- Even when the session had expired before.
each_stream(function(stream) redis.call('DEL', logs .. stream) end)
redis.call('DEL', calls)
return answer
