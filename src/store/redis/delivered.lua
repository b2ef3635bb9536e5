-- Notes how far a stream was written to a connection.
-- KEYS: the session; the log.
-- ARGV: the number of the last event that was.
-- Returns 1 when that is news, else 0.
local values = redis.call('HMGET', KEYS[2], 'head', 'delivered')
if not values[1] or redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local number = math.min(tonumber(ARGV[1]), tonumber(values[1]))
if number <= tonumber(values[2]) then
  return 0
end
redis.call('HSET', KEYS[2], 'delivered', string.format('%.0f', number))
return 1
