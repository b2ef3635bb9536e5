-- Ends a node's lease now. It stays in the set: its calls may have to be found.
-- KEYS: the set of leases.
-- ARGV: the node.
-- XX: a node without a lease is not entered.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', now), ARGV[1])
return 1
