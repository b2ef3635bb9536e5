-- Takes the answers that came for a call, in the order in which they came.
-- KEYS: the session; its calls.
-- ARGV: the call.
-- Returns numbers and answers by turns.
local calls, call = KEYS[2], ARGV[1]
local waiting = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HGET', calls, 'waiting:' .. call)
local answer = {}
for number in string.gmatch(waiting or '', '%d+') do
  local field = 'reply:' .. call .. '-' .. number
  answer[#answer + 1] = number
  answer[#answer + 1] = redis.call('HGET', calls, field)
  redis.call('HDEL', calls, field)
end
if #answer > 0 then
  redis.call('HDEL', calls, 'waiting:' .. call)
end
return answer
