-- Registers a call, and makes its stream, if it has one of its own, unless it is there. Before it stands log.lua; its log is that of the call's stream.
-- ARGV: the call; its life in milliseconds; its record; the request's id; its stream; who carries that from now on, or an
-- empty text; the most streams, and bytes of all of them; after how long what has expired is swept; how many microseconds the
-- call has run; the request's text, if another node may run it again.
-- Returns `begun`; or `cancelled` when the client has cancelled the request since it began; or `gone`, also when another node has
-- claimed the call since an earlier try, or it has ended; or `other` when another life of the node has claimed it.
local call, ttl, record, request, stream, holder = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', session) == 0 then
  return 'gone'
end
local known = record_of(call)
if known then
  local new = cjson.decode(record)
  if is_of(known, new.node .. '/' .. new.life) then
    return redis.call('HEXISTS', calls, 'stop:' .. call) == 1 and 'cancelled' or 'begun'
  end
  return known.node == new.node and 'other' or 'gone'
end
if redis.call('HEXISTS', calls, 'ended:' .. call) == 1 or redis.call('HEXISTS', log, 'done') == 1 then
  return 'gone'
end
local noted, ends = string.match(redis.call('HGET', calls, 'cancelled:' .. request) or '', '^(%d+)/(%d+)')
-- The note stays: several calls may have had that id when it was cancelled.
if noted and tonumber(ends) > now_us() and now_us() - tonumber(ARGV[10]) < tonumber(noted) then
  return 'cancelled'
end

sweep(tonumber(ARGV[9]), ARGV[7], ARGV[8])
if stream == call then
  make(stream, ARGV[7], ARGV[8])
  keep(log, ttl)
end
-- Not later than its node thinks, whose word for it may have been long on its way.
local began = math.min(now_us() - tonumber(ARGV[10]), cjson.decode(record).started * 1000 + 999)
redis.call('HSET', calls, call, record, 'began:' .. call, text(began))
if request ~= '' then
  local same = redis.call('HGET', calls, 'request:' .. request) or ','
  redis.call('HSET', calls, 'request:' .. request, same .. call .. ',')
end
if ARGV[11] then
  redis.call('HSET', calls, 'body:' .. call, ARGV[11])
end
-- What answered it before it was registered again.
local all = redis.call('HGET', early, 'all')
if all then
  local others, numbers = '', ','
  for ends, whose, number in string.gmatch(all, '(%d+)/(%w+)%-(%d+),') do
    local field = whose .. '-' .. number
    if whose ~= call then
      others = others .. ends .. '/' .. field .. ','
    elseif tonumber(ends) > now_ms() then
      redis.call('HSET', calls, 'reply:' .. field, redis.call('HGET', early, field))
      numbers = numbers .. number .. ','
    end
  end
  if numbers ~= ',' then
    redis.call('HSET', calls, 'answered:' .. call, numbers, 'waiting:' .. call, numbers)
    redis.call('HSET', early, 'all', others)
    for number in string.gmatch(numbers, '%d+') do
      redis.call('HDEL', early, call .. '-' .. number)
    end
  end
end
if holder ~= '' then
  redis.call('HSET', session, 'attach:' .. stream, holder)
end
keep(calls, ttl)
return 'begun'
