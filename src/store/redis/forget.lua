-- Strikes a node out of the set of leases, unless its lease lives.
-- KEYS: the set of leases.
-- ARGV: the node.
-- Returns 1 when it is not in the set any longer, 0 when it lives.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ends and tonumber(ends) > now then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
return 1
