-- Gives a topic that has changed a version: the time, or more than the last.
-- KEYS: the versions, a sorted set; its member without a name has the version of all topics that have made room.
-- ARGV: the topic; the versions' life in milliseconds; the most topics; and those that never make room.
-- Returns `noted`.
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
local time = redis.call('TIME')
local version = math.max(time[1] * 1000000 + time[2], (tonumber(newest) or 0) + 1)
redis.call('ZADD', KEYS[1], string.format('%.0f', version), ARGV[1])
if redis.call('ZCARD', KEYS[1]) > tonumber(ARGV[3]) then
  -- A quarter at a time: their subscribers are told of a change, though there may have been none.
  local gone = redis.call('ZPOPMIN', KEYS[1], math.ceil(tonumber(ARGV[3]) / 4))
  redis.call('ZADD', KEYS[1], gone[#gone], '')
  for i = 1, #gone, 2 do
    for list = 4, #ARGV do
      if gone[i] == ARGV[list] then
        redis.call('ZADD', KEYS[1], gone[i + 1], gone[i])
      end
    end
  end
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'noted'
