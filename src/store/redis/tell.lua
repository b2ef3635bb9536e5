-- Tells a session of changes on its standing stream, each once. Before it stands log.lua.
-- ARGV: the stream; the log's life in milliseconds while nobody carries it; the node that tells; the most events and bytes, and the
-- most streams and bytes of all of them; what the channel of a node starts with; the message; then by turns, the field that notes
-- what was told; the version; what must stand among the subscriptions, if anything; and the event, empty if there is none, to leave
-- what is there.
-- Returns who carries the stream; then by turns which of the news were appended, from 1, and their numbers.
local stream, ttl, by = ARGV[1], ARGV[2], ARGV[3]
-- Late news must not bring a session back, nor a subscription.
if redis.call('EXISTS', session) == 0 then
  return {''}
end
local subscriptions = redis.call('HGET', session, 'subscriptions') or ''
local holder = redis.call('HGET', session, 'attach:' .. stream)
local answer = {holder or ''}
for i = 10, #ARGV, 4 do
  local field, version, wanted, data = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if wanted == '' or string.find(subscriptions, wanted, 1, true) then
    local known = redis.call('HGET', session, field)
    if data == '' then
      redis.call('HSETNX', session, field, version)
    elseif not known or tonumber(known) < tonumber(version) then
      redis.call('HSET', session, field, version)
      make(stream, ARGV[6], ARGV[7])
      answer[#answer + 1] = text((i - 10) / 4 + 1)
      answer[#answer + 1] = text(append(stream, data, ARGV[4], ARGV[5], ARGV[6], ARGV[7]))
    end
  end
end
if #answer > 1 then
  keep(calls, settle(stream, holder, ttl))
  send(holder, by, ARGV[8], ARGV[9])
end
return answer
