-- Notes that the client has cancelled a request: for each call of that id that had begun by then and is registered, and for those
-- that had begun and are not. When it was stands beside it: what began later is another request, whose id was used again.
-- KEYS: the session; its calls.
-- ARGV: the request's id; the note's life in milliseconds; the most notes; how many microseconds ago it was; the client's reason, if
-- it gave one.
-- Returns `noted`, and then the nodes and the registered calls by turns; or `gone`.
local calls, request, ttl = KEYS[2], ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'gone'}
end
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local since = now_us - tonumber(ARGV[4])
local answer = {'noted'}
for call in string.gmatch(redis.call('HGET', calls, 'request:' .. request) or '', '%w+') do
  local record, began = unpack(redis.call('HMGET', calls, call, 'began:' .. call))
  if record and tonumber(began or 0) <= since then
    redis.call('HSET', calls, 'stop:' .. call, 1)
    answer[#answer + 1] = cjson.decode(record).node
    answer[#answer + 1] = call
  end
end

-- One that was on its way for longer takes nothing back.
local last, reason = string.match(redis.call('HGET', calls, 'cancelled:' .. request) or '', '^(%d+)/%d+(.*)$')
local noted = tonumber(last or 0)
if noted <= since then
  noted, reason = since, ARGV[5] and '/' .. ARGV[5] or ''
end
redis.call('HSET', calls, 'cancelled:' .. request, string.format('%.0f/%.0f', noted, now_us + ttl * 1000) .. reason)
if redis.call('PTTL', calls) < ttl then
  redis.call('PEXPIRE', calls, ttl)
end

local notes = {}
for _, field in ipairs(redis.call('HKEYS', calls)) do
  if string.sub(field, 1, 10) == 'cancelled:' then
    local ends = tonumber(string.match(redis.call('HGET', calls, field), '^%d+/(%d+)'))
    if ends <= now_us then
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
return answer
