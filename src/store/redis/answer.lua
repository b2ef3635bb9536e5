-- Keeps a client's answer to a call's request, and tells the node that runs the call. The first answer wins.
-- KEYS: the session; its calls.
-- ARGV: the call; the request's number; the answer; the most answers that may wait; the most that a call gets; what the
-- channel of a node starts with; the message; the most bytes of answers that may wait, but a single one is kept even if it is longer;
-- for how many milliseconds those are kept whose call is not registered, and the most bytes and the most of them.
-- Returns `kept` and the node that runs the call; or `early`, when it is not registered, or not any longer; or `unwanted`, when it
-- has that answer, or is known to have ended; or `full`; or `gone`.
local calls, call, number = KEYS[2], ARGV[1], ARGV[2]
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {'gone'}
end
local record = redis.call('HGET', calls, call)
if not record then
  if redis.call('HEXISTS', calls, 'ended:' .. call) == 1 then
    return {'unwanted'}
  end
  -- A key of its own, which ends by itself. `all`: until when each is kept, and whose it is, the oldest first.
  local early, mine = calls .. ':early', call .. '-' .. number
  local time = redis.call('TIME')
  local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
  local kept, bytes, gone = {}, #ARGV[3], {}
  for ends, whose in string.gmatch(redis.call('HGET', early, 'all') or '', '(%d+)/(%w+%-%d+),') do
    if tonumber(ends) <= now_ms then
      gone[#gone + 1] = whose
    elseif whose == mine then
      return {'unwanted'}
    else
      local size = redis.call('HSTRLEN', early, whose)
      kept[#kept + 1] = {text = ends .. '/' .. whose .. ',', whose = whose, size = size}
      bytes = bytes + size
    end
  end
  local all = ''
  for i, other in ipairs(kept) do
    if #kept - i + 1 >= tonumber(ARGV[11]) or bytes > tonumber(ARGV[10]) then
      gone[#gone + 1] = other.whose
      bytes = bytes - other.size
    else
      all = all .. other.text
    end
  end
  -- First, so that a Redis that is full refuses the whole of it: once a script has deleted something it may write on.
  local ends = string.format('%.0f', now_ms + tonumber(ARGV[9]))
  redis.call('HSET', early, mine, ARGV[3], 'all', all .. ends .. '/' .. mine .. ',')
  redis.call('PEXPIRE', early, ARGV[9])
  if #gone > 0 then
    redis.call('HDEL', early, unpack(gone))
  end
  return {'early'}
end
local function count(list)
  return select(2, string.gsub(list, '%d+', ''))
end
-- `,1,2,`: every number that was ever answered, and those that were not taken yet.
local answered = redis.call('HGET', calls, 'answered:' .. call) or ','
local waiting = redis.call('HGET', calls, 'waiting:' .. call) or ','
if string.find(answered, ',' .. number .. ',', 1, true) then
  return {'unwanted'}
end
if count(waiting) >= tonumber(ARGV[4]) or count(answered) >= tonumber(ARGV[5]) then
  return {'full'}
end
local bytes = 0
for waits in string.gmatch(waiting, '%d+') do
  bytes = bytes + redis.call('HSTRLEN', calls, 'reply:' .. call .. '-' .. waits)
end
if bytes > 0 and bytes + #ARGV[3] > tonumber(ARGV[8]) then
  return {'full'}
end
redis.call('HSET', calls, 'reply:' .. call .. '-' .. number, ARGV[3],
  'answered:' .. call, answered .. number .. ',', 'waiting:' .. call, waiting .. number .. ',')
local node = cjson.decode(record).node
redis.call('PUBLISH', ARGV[6] .. node, ARGV[7])
return {'kept', node}
