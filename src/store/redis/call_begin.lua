-- Registers a call, and makes its stream unless it is there. Before it stands log.lua; its log is that of the call's stream.
-- ARGV: the call; its life in milliseconds; its record; the request's id; its stream; who carries that from now on, or an
-- empty text; the most streams; the request's text, if another node may run it again.
-- Returns `begun`; or `cancelled` when the client has cancelled the request already; or `gone`, also when another node has
-- claimed the call since an earlier try, or it has ended; or `other` when another life of the node has claimed it.
local call, ttl, record, request, stream, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', session) == 0 then
  return 'gone'
end
local known = record_of(call)
if known then
  local new = cjson.decode(record)
  if is_of(known, new.node .. '/' .. new.life) then
    return 'begun'
  end
  return known.node == new.node and 'other' or 'gone'
end
if redis.call('HEXISTS', calls, 'ended:' .. call) == 1 or redis.call('HEXISTS', log, 'done') == 1 then
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

make(stream, ARGV[7])
redis.call('HSET', calls, call, record, 'request:' .. request, call)
if ARGV[8] then
  redis.call('HSET', calls, 'body:' .. call, ARGV[8])
end
if holder ~= '' then
  redis.call('HSET', session, 'attach:' .. stream, holder)
end
keep(log, ttl)
keep(calls, ttl)
return 'begun'
