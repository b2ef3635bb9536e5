-- Takes a call off, ends its stream if it has one of its own, and rings whoever carries it. Before it stands log.lua.
-- ARGV: the call; its log's life in milliseconds; the node that ends it and its life; the most events and bytes; what the channel of a
-- node starts with; what the ring
-- starts with; the last event, if there is one.
-- Returns `at`, the number of the newest event and who carries the stream; or `gone`, and the node
-- that has the call, if there is one.
local call, ttl, by = ARGV[1], ARGV[2], ARGV[3]
local record = redis.call('EXISTS', session) == 1 and record_of(call)
if not record or not is_of(record, by) then
  return {'gone', record and record.node or ''}
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
  redis.call('HSET', calls, 'ended:' .. call, 1)
end
-- The record knows to which stream the call writes.
local stream = record.stream
log = logs .. stream
if redis.call('EXISTS', log) == 0 then
  return {'gone'}
end

local number = ARGV[8] and append(ARGV[8], ARGV[4], ARGV[5]) or redis.call('HGET', log, 'head')
if stream == call then
  local made = redis.call('HGET', calls, 'stream:' .. call) or text(now_ms())
  redis.call('HSET', log, 'done', 1)
  redis.call('HSET', calls, 'stream:' .. call, made .. '/done')
  redis.call('PEXPIRE', log, ttl)
else
  keep(log, ttl)
end
keep(calls, ttl)
local holder = redis.call('HGET', session, 'attach:' .. stream)
ring(holder, by, ARGV[6], ARGV[7] .. stream .. '"}')
return {'at', text(number), holder or ''}
