-- Registers a call and makes its stream. Before it stands log.lua.
-- ARGV: the call; its life in milliseconds; its record; the request's id; who carries the stream; the most streams; the
-- request's text, if another node may run it again.
-- Returns `begun`; or `cancelled` when the client has cancelled the request already; or `gone`.
local call, ttl, record, request, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if redis.call('EXISTS', session) == 0 then
  return 'gone'
end
local note = 'cancelled:' .. request
local noted_until = redis.call('HGET', calls, note)
if noted_until then
  redis.call('HDEL', calls, note)
  if tonumber(noted_until) > now_ms() then
    return 'cancelled'
  end
end

make(call, ARGV[6])
redis.call('HSET', calls, call, record, 'request:' .. request, call)
if ARGV[7] then
  redis.call('HSET', calls, 'body:' .. call, ARGV[7])
end
redis.call('HSET', session, 'attach:' .. call, holder)
redis.call('PEXPIRE', log, ttl)
keep(calls, ttl)
return 'begun'
