-- Makes a call another node's, if its record is still what the claimer read.
-- KEYS: the session; its calls.
-- ARGV: the call; the record that was read; the new one.
-- Returns nil when it was claimed; else the node that has the call, or an empty text when there is no such call.
local record = redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HGET', KEYS[2], ARGV[1])
if not record then
  return ''
end
if record ~= ARGV[2] then
  return cjson.decode(record).node
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return false
