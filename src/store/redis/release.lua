-- Notes that a node keeps no copy of a session any longer.
-- KEYS: the session.
-- ARGV: the field that stands for the node; the node's life.
-- Returns 1 when the node was named, in that life; else 0.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
