-- Takes answers off that have been handed to their call.
-- KEYS: the session; its calls.
-- ARGV: the call; the numbers of the requests that they answer.
-- Returns how many are left.
local calls, call = KEYS[2], ARGV[1]
local list = 'waiting:' .. call
local waiting = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HGET', calls, list)
if not waiting then
  return 0
end
local taken = {}
for i = 2, #ARGV do
  taken[ARGV[i]] = true
  redis.call('HDEL', calls, 'reply:' .. call .. '-' .. ARGV[i])
end
local left = {}
for number in string.gmatch(waiting, '%d+') do
  if not taken[number] then
    left[#left + 1] = number
  end
end
if #left == 0 then
  redis.call('HDEL', calls, list)
else
  redis.call('HSET', calls, list, ',' .. table.concat(left, ',') .. ',')
end
return #left
