-- Says what came for a call, and lets the log of its own stream live on, if it has one. Before it stands log.lua.
-- ARGV: the call; the node that runs it and its life; the log's life in milliseconds.
-- Returns `mail`, 1 when the client has cancelled the call, and then numbers and answers by turns; or `gone`.
local call, by, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local record = redis.call('EXISTS', session) == 1 and record_of(call)
if not record or not is_of(record, by) then
  return {'gone'}
end
-- Only now and then: this is asked every few seconds.
for _, key in ipairs({calls, log}) do
  if redis.call('PTTL', key) < ttl / 2 then
    redis.call('PEXPIRE', key, ttl)
  end
end
local answer = {'mail', redis.call('HGET', calls, 'stop:' .. call) or '0'}
for number in string.gmatch(redis.call('HGET', calls, 'waiting:' .. call) or '', '%d+') do
  answer[#answer + 1] = number
  answer[#answer + 1] = redis.call('HGET', calls, 'reply:' .. call .. '-' .. number)
end
return answer
