-- Makes a connection carry a stream from now on, and rings whoever did before. Before it stands log.lua.
-- ARGV: the stream; its life in milliseconds; the connection, its node; whether the stream is made if need be (make, or
-- call); the most streams; what the channel of a node starts with; the ring; from whom it may be taken: from `any`, or `only`
-- from the connection that follows, or from nobody.
-- Returns `attached`, the number of the last event that was delivered and who carried the stream; or `held` and who carries
-- it, from whom it may not be taken; or `none`, when there is no such stream, or it has ended and is not taken from any; or `gone`.
local stream, ttl, holder, node, kind = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', session) == 0 then
  return {'gone'}
end
if kind == 'make' then
  ttl = redis.call('PTTL', session)
  make(stream, ARGV[6])
elseif redis.call('EXISTS', log) == 0 then
  return {'none'}
end
local previous = redis.call('HGET', session, 'attach:' .. stream)
if ARGV[9] == 'only' then
  if previous and previous ~= holder and previous ~= ARGV[10] then
    return {'held', previous}
  end
  if redis.call('HEXISTS', log, 'done') == 1 then
    return {'none'}
  end
end
redis.call('HSET', session, 'attach:' .. stream, holder)
if previous and previous ~= holder or ARGV[9] == 'only' then
  -- Others may wait to carry it: the connection that did until now, and those that were not first just now.
  redis.call('HSET', session, 'standby:' .. stream, 1)
end
keep(log, ttl)
keep(calls, ttl)
ring(previous, node, ARGV[7], ARGV[8])
return {'attached', redis.call('HGET', log, 'delivered'), previous or ''}
