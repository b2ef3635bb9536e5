-- Takes a connection off a stream, if it is still the one that carries it, and rings all nodes if another may wait to carry it.
-- KEYS: the session.
-- ARGV: the field that says who carries the stream; the connection; the field that says that others may wait; the channel of all
-- nodes; the ring.
-- Returns 1 when it was taken off, else 0.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
-- Whoever takes over notes that others may wait, so that this is rung once for each connection that goes.
if redis.call('HDEL', KEYS[1], ARGV[3]) == 1 then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 1
