-- Says which nodes' leases have ended, by Redis's own clock.
-- KEYS: the set of leases.
-- Returns these nodes.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
