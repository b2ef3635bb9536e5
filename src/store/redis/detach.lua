-- Takes a connection off a stream, if it is still the one that carries it.
-- KEYS: the session.
-- ARGV: the field that says who carries the stream; the connection.
-- Returns 1 when it was taken off, else 0.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
return redis.call('HDEL', KEYS[1], ARGV[1])
