-- Appends an event to a stream and rings whoever carries it. Before it stands log.lua.
-- ARGV: the stream; the log's life in milliseconds; the node that appends; the event; whether the stream is made if
-- need be (make), or is a call's (call); the most events, bytes and streams; what the channel of a node starts with; the
-- ring; and the call that sends it, if one does.
-- Returns `at`, the event's number and who carries the stream; or `gone`.
local stream, ttl, by, data, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', session) == 0 then
  return {'gone'}
end
local call = ARGV[11] or (kind == 'call' and stream)
if call then
  -- A node that was thought dead, and whose call another has claimed, must say no more of it: not on a standing stream
  -- either.
  local record = record_of(call)
  if not record or record.node ~= by then
    return {'gone'}
  end
end
if kind == 'make' then
  make(stream, ARGV[8])
elseif redis.call('EXISTS', log) == 0 then
  return {'gone'}
end
if redis.call('HEXISTS', log, 'done') == 1 then
  return {'gone'}
end

local number = append(data, ARGV[6], ARGV[7])
redis.call('PEXPIRE', log, ttl)
keep(calls, ttl)
local holder = redis.call('HGET', session, 'attach:' .. stream)
ring(holder, by, ARGV[9], ARGV[10])
return {'at', text(number), holder or ''}
