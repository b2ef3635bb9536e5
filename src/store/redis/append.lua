-- Appends an event to a stream and tells the node that carries it. Before it stands log.lua.
-- ARGV: the stream; the log's life in milliseconds, of a standing one while nobody carries it; the node that appends and its life; the event; whether the stream is made if
-- need be (make), or is a call's (call); the most events and bytes, and the most streams and bytes of all of them; what the
-- channel of a node starts with; the message; and, if the event is a call's: the call, its run, and which event of that run it is.
-- Returns `at`, the event's number and who carries the stream; or `gone`.
local stream, ttl, by, data, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local call, run, step = ARGV[12], ARGV[13], tonumber(ARGV[14])
if redis.call('EXISTS', session) == 0 then
  return {'gone'}
end
if call then
  -- A node that was thought dead, and whose call another has claimed, must not write any longer. Nor has anybody a use for what
  -- a call sends that was cancelled: its client may have used its id again.
  local record = record_of(call)
  if not record or not is_of(record, by) or redis.call('HEXISTS', calls, 'stop:' .. call) == 1 then
    return {'gone'}
  end
end
if kind == 'make' then
  make(stream, ARGV[8], ARGV[9])
elseif not call or redis.call('EXISTS', log) == 0 then
  return {'gone'}
end
if redis.call('HEXISTS', log, 'done') == 1 then
  return {'gone'}
end
local holder = redis.call('HGET', session, 'attach:' .. stream)
if call then
  local known, last, number = string.match(redis.call('HGET', calls, 'wrote:' .. call) or '', '^(.-)/(%d+)/(%d+)$')
  if known == run and tonumber(last) >= step then
    return {'at', number, holder or ''}
  end
end

local number = append(stream, data, ARGV[6], ARGV[7], ARGV[8], ARGV[9])
if call then
  redis.call('HSET', calls, 'wrote:' .. call, run .. '/' .. ARGV[14] .. '/' .. text(number))
end
if kind == 'make' then
  ttl = settle(stream, holder, ttl)
else
  redis.call('PEXPIRE', log, ttl)
end
keep(calls, ttl)
send(holder, by, ARGV[10], ARGV[11])
return {'at', text(number), holder or ''}
