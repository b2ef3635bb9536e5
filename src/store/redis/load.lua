-- Reads fields of a session, and notes a node that keeps a copy from now on when the session is initialized. Before it stands
-- record.lua.
-- KEYS: the session.
-- ARGV: the field that stands for the node; the node's life; then the fields to read, of which the first is the version.
-- Returns the fields' values: all nil when there is no such session. Of a session of a later version they are returned
-- too, but no copy is noted: the caller sees the version and refuses it.
local values = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
-- A Redis that takes no writes can be read: then the record stays as it is.
if values[1] == '1' and pcall(subscriptions_of, KEYS[1]) then
  values = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
end
if (values[1] == '1' or values[1] == '2') and redis.call('HGET', KEYS[1], 'initialized') == '1' then
  -- Only when it is not there, so that a Redis that takes no writes can be read.
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  end
end
return values
