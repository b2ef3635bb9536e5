-- Says how long ago the client has cancelled a request last, and why.
-- KEYS: the session's calls.
-- ARGV: the request's id.
-- Returns the microseconds since then, and the reason if one was given; nothing when no cancellation is noted, or not any longer.
local note = redis.call('HGET', KEYS[1], 'cancelled:' .. ARGV[1]) or ''
local noted, ends, reason = string.match(note, '^(%d+)/(%d+)(.*)$')
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
if not noted or tonumber(ends) <= now_us then
  return {}
end
local ago = string.format('%.0f', math.max(0, now_us - tonumber(noted)))
-- Behind a slash, so that an empty one is told from none.
return reason == '' and {ago} or {ago, string.sub(reason, 2)}
