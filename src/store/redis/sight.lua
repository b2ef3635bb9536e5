-- Notes what was seen of a session.
-- KEYS: the session.
-- ARGV: of which kind it is; for how many milliseconds it counts; how many of a kind are kept; what was seen.
-- Returns what was seen in that time, the oldest first; nothing when there is no such session.
local field, new = 'seen:' .. ARGV[1], {}
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local names, noted = {}, {}
for i = 4, #ARGV do
  new[ARGV[i]] = true
end
for at, seen in string.gmatch(redis.call('HGET', KEYS[1], field) or '', '(%d+)/([^,]+),') do
  if tonumber(at) > now - tonumber(ARGV[2]) and not new[seen] then
    names[#names + 1] = seen
    noted[#noted + 1] = at .. '/' .. seen .. ','
  end
end
for i = 4, #ARGV do
  names[#names + 1] = ARGV[i]
  noted[#noted + 1] = string.format('%.0f/%s,', now, ARGV[i])
end
while #names > tonumber(ARGV[3]) do
  table.remove(names, 1)
  table.remove(noted, 1)
end
redis.call('HSET', KEYS[1], field, table.concat(noted))
return names
