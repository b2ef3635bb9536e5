-- Takes a call off, ends its stream if it has one of its own, and tells the node that carries it. Before it stands log.lua; its log is
-- that of the call's stream.
-- ARGV: the call; its stream; the log's life in milliseconds, of a standing one while nobody carries it; the node that ends it and its
-- life; the most events and bytes, and the most streams and bytes of all of them; what the channel of a node starts with; the message;
-- for how long it is noted that a claimed call has ended; the last event, if there is one. Of a call that was cancelled it is not
-- appended.
-- Returns `answered`, the number of the last event and who carries the stream; or `unanswered`; or `gone`, and the node that has the
-- call, if there is one.
local call, stream, ttl, by = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record = redis.call('EXISTS', session) == 1 and record_of(call)
if not record or not is_of(record, by) or record.stream ~= stream then
  return {'gone', record and record.node or ''}
end

local data = redis.call('HEXISTS', calls, 'stop:' .. call) == 0 and ARGV[12]
for number in string.gmatch(redis.call('HGET', calls, 'waiting:' .. call) or '', '%d+') do
  redis.call('HDEL', calls, 'reply:' .. call .. '-' .. number)
end
redis.call('HDEL', calls, call, 'body:' .. call, 'waiting:' .. call, 'answered:' .. call, 'wrote:' .. call,
  'stop:' .. call, 'began:' .. call)
local request = 'request:' .. record.request
local same = redis.call('HGET', calls, request)
if same then
  local others = string.gsub(same, ',' .. call .. ',', ',')
  if others == ',' then
    redis.call('HDEL', calls, request)
  else
    redis.call('HSET', calls, request, others)
  end
end
if record.claimed then
  -- Its former node may not know yet, and must not register it again.
  redis.call('HSET', calls, 'ended:' .. call, text(now_ms() + tonumber(ARGV[11])))
end
if redis.call('EXISTS', log) == 0 then
  if not stands(stream) then
    return {'gone'}
  end
  make(stream, ARGV[7], ARGV[8])
end

local holder = redis.call('HGET', session, 'attach:' .. stream)
local number = data and append(stream, data, ARGV[5], ARGV[6], ARGV[7], ARGV[8])
if stream == call then
  redis.call('HSET', log, 'done', 1)
  redis.call('PEXPIRE', log, ttl)
  -- Its carrier reads it to its end; and now it may go when room is needed.
  redis.call('HDEL', session, 'attach:' .. stream, 'standby:' .. stream)
  redis.call('HDEL', calls, 'count:tight')
else
  ttl = settle(stream, holder, ttl)
end
keep(calls, ttl)
send(holder, by, ARGV[9], ARGV[10])
if not number then
  return {'unanswered'}
end
return {'answered', text(number), holder or ''}
