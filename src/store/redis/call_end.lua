-- Takes a call off, ends its stream if it has one of its own, and rings whoever carries it. Before it stands log.lua.
-- ARGV: the call; its log's life in milliseconds; the node that ends it; the most events and bytes, and the most streams and
-- bytes of all of them; what the channel of a node starts with; what the ring starts with; for how long it is noted that
-- a claimed call has ended; the last event, if there is one.
-- Returns `at`, the number of the newest event and who carries the stream; or `gone`.
local call, ttl, by = ARGV[1], ARGV[2], ARGV[3]
local record = redis.call('EXISTS', session) == 1 and record_of(call)
if not record or record.node ~= by then
  return {'gone'}
end

for number in string.gmatch(redis.call('HGET', calls, 'waiting:' .. call) or '', '%d+') do
  redis.call('HDEL', calls, 'reply:' .. call .. '-' .. number)
end
redis.call('HDEL', calls, call, 'body:' .. call, 'waiting:' .. call, 'answered:' .. call, 'wrote:' .. call,
  'stop:' .. call)
local request = 'request:' .. record.request
if redis.call('HGET', calls, request) == call then
  redis.call('HDEL', calls, request)
end
if record.claimed then
  -- Its former node may not know yet, and must not begin it anew.
  redis.call('HSET', calls, 'ended:' .. call, text(now_ms() + tonumber(ARGV[10])))
end
-- The record knows to which stream the call writes.
local stream = record.stream
log = logs .. stream
if redis.call('EXISTS', log) == 0 then
  return {'gone'}
end

local holder = redis.call('HGET', session, 'attach:' .. stream)
local number = redis.call('HGET', log, 'head')
if ARGV[11] then
  number = append(stream, ARGV[11], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
end
if stream == call then
  redis.call('HSET', log, 'done', 1)
  redis.call('PEXPIRE', log, ttl)
  -- Whoever carries it reads it to its end; and now it may go when room is needed.
  redis.call('HDEL', session, 'attach:' .. stream)
  redis.call('HDEL', calls, 'tight')
else
  keep(log, ttl)
end
keep(calls, ttl)
ring(holder, by, ARGV[8], ARGV[9] .. stream .. '"}')
return {'at', text(number), holder or ''}
