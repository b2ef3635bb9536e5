-- Takes a connection off a stream, if it is still the one that carries it, and tells all nodes if another may wait to carry it.
-- Before it stands log.lua.
-- ARGV: the stream; the connection; the life in milliseconds of a standing stream's log from now; the channel of all nodes; the
-- message.
-- Returns 1 when it was taken off, else 0.
local stream = ARGV[1]
if redis.call('HGET', session, 'attach:' .. stream) ~= ARGV[2] then
  return 0
end
redis.call('HDEL', session, 'attach:' .. stream)
if stands(stream) and redis.call('EXISTS', log) == 1 then
  settle(stream, nil, ARGV[3])
end
-- The connection that takes over notes that others may wait, so that this is said once for each connection that goes.
if redis.call('HDEL', session, 'standby:' .. stream) == 1 then
  redis.call('PUBLISH', ARGV[4], ARGV[5])
end
return 1
