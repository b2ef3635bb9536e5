-- Ends a session with everything that belongs to it, and tells the nodes that carry its streams. Before it stands log.lua.
-- ARGV: what the channel of a node starts with; the message; the principal whose session it must be, if that is asked.
-- Returns `ended`, the peer it counted for and the fields of the nodes that keep copies; or `gone`.
local answer, fields, owner = {'ended', ''}, {}, ''
-- A key of another type is no record that could be read: it only goes.
if redis.call('TYPE', session).ok == 'hash' then
  answer[2] = redis.call('HGET', session, 'peer') or ''
  owner = redis.call('HGET', session, 'principal') or ''
  fields = redis.call('HKEYS', session)
end
if ARGV[3] and owner ~= ARGV[3] then
  return {'gone'}
end
local nodes = {}
for _, field in ipairs(fields) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  elseif string.sub(field, 1, 7) == 'attach:' then
    nodes[node_of(redis.call('HGET', session, field))] = true
  end
end
for node in pairs(nodes) do
  redis.call('PUBLISH', ARGV[1] .. node, ARGV[2])
end
if redis.call('DEL', session) == 0 then
  answer = {'gone'}
end
-- Even when the session had expired before.
each_stream(function(stream) redis.call('DEL', logs .. stream) end)
redis.call('DEL', calls, early)
return answer
