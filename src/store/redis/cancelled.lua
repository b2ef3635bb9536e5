-- Says how long ago the client has cancelled a request last.
-- KEYS: the session's calls.
-- ARGV: the request's id.
-- Returns the microseconds since then; nil when no cancellation is noted, or not any longer.
local noted, ends = string.match(redis.call('HGET', KEYS[1], 'cancelled:' .. ARGV[1]) or '', '^(%d+)/(%d+)$')
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
if not noted or tonumber(ends) <= now_us then
  return false
end
return string.format('%.0f', math.max(0, now_us - tonumber(noted)))
