-- Says which nodes are in the set of leases, and which of these leases have not ended by Redis's own clock.
-- KEYS: the set of leases.
-- Returns by turns a node, and 1 when its lease lasts or else 0.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases, known = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), {}
for i = 1, #leases, 2 do
  known[i] = leases[i]
  known[i + 1] = tonumber(leases[i + 1]) > now and '1' or '0'
end
return known
