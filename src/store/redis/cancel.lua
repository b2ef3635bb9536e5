-- Notes that the client has cancelled a request: for its call, or for one that has not registered yet.
-- KEYS: the session; its calls.
-- ARGV: the request's id; the note's life in milliseconds; the most notes.
-- Returns the node that runs the call, and the call; or an empty list.
local calls, request, ttl = KEYS[2], ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local call = redis.call('HGET', calls, 'request:' .. request)
local record = call and redis.call('HGET', calls, call)
if record then
  redis.call('HSET', calls, 'stop:' .. call, 1)
  return {cjson.decode(record).node, call}
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', calls, 'cancelled:' .. request, string.format('%.0f', now + ttl))
if redis.call('PTTL', calls) < ttl then
  redis.call('PEXPIRE', calls, ttl)
end

local notes = {}
for _, field in ipairs(redis.call('HKEYS', calls)) do
  if string.sub(field, 1, 10) == 'cancelled:' then
    local ends = tonumber(redis.call('HGET', calls, field))
    if ends <= now then
      redis.call('HDEL', calls, field)
    else
      notes[#notes + 1] = {field = field, ends = ends}
    end
  end
end
table.sort(notes, function(a, b) return a.ends < b.ends end)
for i = 1, #notes - tonumber(ARGV[3]) do
  redis.call('HDEL', calls, notes[i].field)
end
return {}
