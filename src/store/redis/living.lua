-- Says which nodes' leases have not ended, by Redis's own clock.
-- KEYS: the set of leases.
-- ARGV: nodes.
-- Returns those that live.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local living = {}
for _, node in ipairs(ARGV) do
  local ends = redis.call('ZSCORE', KEYS[1], node)
  if ends and tonumber(ends) > now then
    living[#living + 1] = node
  end
end
return living
