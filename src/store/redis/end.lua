-- Ends a session with everything that belongs to it, and rings those that carry its streams. Before it stands log.lua.
-- ARGV: what the channel of a node starts with; what the ring of a stream starts with.
-- Returns `ended`, the peer it counted for and the fields that stand for holders; or `gone`.
local answer, fields = {'ended', ''}, {}
-- A key of another type is no record that could be read: it only goes.
if redis.call('TYPE', session).ok == 'hash' then
  answer[2] = redis.call('HGET', session, 'peer') or ''
  fields = redis.call('HKEYS', session)
end
for _, field in ipairs(fields) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  elseif string.sub(field, 1, 7) == 'attach:' then
    ring(redis.call('HGET', session, field), '', ARGV[1], ARGV[2] .. string.sub(field, 8) .. '"}')
  end
end
if redis.call('DEL', session) == 0 then
  answer = {'gone'}
end
-- Even when the session had expired before.
each_stream(function(stream) redis.call('DEL', logs .. stream) end)
redis.call('DEL', calls, early)
return answer
