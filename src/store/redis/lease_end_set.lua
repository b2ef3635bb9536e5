-- Ends a node's lease in the set of leases now, and tells all nodes that it has left. It stays in the set: its calls may have to be
-- found.
-- KEYS: the set of leases.
-- ARGV: the node; the channel of all nodes; the message.
-- XX: a node without a lease is not entered.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now), ARGV[1])
redis.call('PUBLISH', ARGV[2], ARGV[3])
return 1
