-- Enters a node into the set of leases until its lease ends, and strikes out those whose lease ended long ago.
-- KEYS: the set.
-- ARGV: the node; the lease's life in milliseconds; for how long after their end leases stay in the set.
-- Returns the nodes whose leases have not ended.
-- The clock is Redis's own, so that nodes whose clocks differ agree on who lives.
local key, life, stay = KEYS[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A number turned to text by Lua loses digits beyond the fourteenth: %.0f keeps them.
redis.call('ZADD', key, string.format('%.0f', now + life), ARGV[1])
-- No lease is longer than its life: the clock has stepped back, or a replica with another clock has taken over.
for _, node in ipairs(redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now + life), '+inf')) do
  redis.call('ZADD', key, string.format('%.0f', now + life), node)
end
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - stay))
if redis.call('PTTL', key) < life + stay then
  redis.call('PEXPIRE', key, string.format('%.0f', life + stay))
end
return redis.call('ZRANGEBYSCORE', key, string.format('(%.0f', now), '+inf')
