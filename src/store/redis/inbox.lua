-- Takes off the answers that were handed to a call, says what else came for it, and lets the log of its own stream live on, if it has
-- one. Before it stands log.lua.
-- ARGV: the call; the node that runs it and its life; the log's life in milliseconds; the numbers of the answers that were handed over.
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
local list = 'waiting:' .. call
local waiting = redis.call('HGET', calls, list) or ''
if #ARGV > 3 and waiting ~= '' then
  local taken, left = {}, {}
  for i = 4, #ARGV do
    taken[ARGV[i]] = true
    redis.call('HDEL', calls, 'reply:' .. call .. '-' .. ARGV[i])
  end
  for number in string.gmatch(waiting, '%d+') do
    if not taken[number] then
      left[#left + 1] = number
    end
  end
  waiting = table.concat(left, ',')
  if waiting == '' then
    redis.call('HDEL', calls, list)
  else
    redis.call('HSET', calls, list, ',' .. waiting .. ',')
  end
end
local answer = {'mail', redis.call('HGET', calls, 'stop:' .. call) or '0'}
for number in string.gmatch(waiting, '%d+') do
  answer[#answer + 1] = number
  answer[#answer + 1] = redis.call('HGET', calls, 'reply:' .. call .. '-' .. number)
end
return answer
