-- Enters a member in sets that are bounded, unless one of them is full.
-- KEYS: the sets: members by when they end.
-- ARGV: the member; its life in milliseconds; and for each set, how many there may be in it.
-- Returns 0 when it was entered; else the place of the set that is full.
local life = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- A number turned to text by Lua loses digits beyond the fourteenth: %.0f keeps them.
local ended, ends = string.format('%.0f', now), string.format('%.0f', now + life)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
if before and tonumber(before) > now then
  -- It is there, and is counted as it is.
  return 0
end
for i, key in ipairs(KEYS) do
  if redis.call('ZCOUNT', key, '(' .. ended, '+inf') >= tonumber(ARGV[2 + i]) then
    return i
  end
end
-- First, so that a Redis that is full refuses the whole of it: once a script has deleted something it may write on.
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, ends, ARGV[1])
end
for _, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', ended)
  if redis.call('PTTL', key) < life then
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return 0
