-- Makes a connection carry a stream from now on, and tells the node that did before. Before it stands log.lua.
-- ARGV: the stream; its life in milliseconds; the connection, its node; whether the stream is made if need be (make, or
-- call); the most streams, and bytes of all of them; what the channel of a node starts with; the message; the carriers from which it may be
-- taken: from `any`, or `only` from the connection that follows, or from nobody.
-- Returns `attached`, the number of the last event that was delivered and who carried the stream; or `held` and who carries
-- it, from which it may not be taken; or `none`, when there is no such stream, or it has ended and is not taken from any; or `gone`.
local stream, ttl, holder, node, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', session) == 0 then
  return {'gone'}
end
if kind == 'make' then
  ttl = redis.call('PTTL', session)
  make(stream, ARGV[6], ARGV[7])
elseif redis.call('EXISTS', log) == 0 then
  return {'none'}
end
local previous = redis.call('HGET', session, 'attach:' .. stream)
local done = redis.call('HEXISTS', log, 'done') == 1
if ARGV[10] == 'only' then
  if previous and previous ~= holder and previous ~= ARGV[11] then
    return {'held', previous}
  end
  if done then
    return {'none'}
  end
end
-- One that is done is only read: nothing comes for which its reader must be found, and its life is not renewed.
if not done then
  redis.call('HSET', session, 'attach:' .. stream, holder)
  if previous and previous ~= holder or ARGV[10] == 'only' then
    -- Others may wait to carry it: the connection that did until now, and those that were not first just now.
    redis.call('HSET', session, 'standby:' .. stream, 1)
  end
  keep(log, ttl)
end
keep(calls, ttl)
send(previous, node, ARGV[8], ARGV[9])
return {'attached', redis.call('HGET', log, 'delivered'), previous or ''}
