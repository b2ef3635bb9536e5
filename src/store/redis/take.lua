-- Takes tokens out of a bucket (GCRA): as many as are wanted or as there are, but none if there are fewer than are needed.
-- KEYS: the bucket: when it is full, in microseconds by Redis's clock.
-- ARGV: how many tokens come in a period; the period in microseconds; how many the bucket holds; how many are needed; how many are wanted.
-- Returns how many were taken, and in how many milliseconds there are as many as are needed when none was.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count, period, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local least, wanted = tonumber(ARGV[4]), tonumber(ARGV[5])
local function time_of(tokens)
  return math.ceil(tokens * period / count)
end
local room = time_of(burst)
local full_at = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
-- A clock that has stepped back, or another rate, must not empty it further than it can be.
full_at = math.min(math.max(full_at, now), now + room)
local granted = math.min(wanted, burst, math.floor((now + room - full_at) * count / period))
if granted < least then
  return {0, math.ceil((full_at + time_of(least) - room - now) / 1000)}
end
full_at = full_at + time_of(granted)
-- A number turned to text by Lua loses digits beyond the fourteenth: %.0f keeps them.
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.max(1, math.ceil((full_at - now) / 1000)))
return {granted, 0}
