-- What the scripts about event logs share: it stands in front of each of them.
-- KEYS: the session; its calls; what the keys of its logs start with; the log in question.
-- A log: `<n>` = event n, `head` = the newest, `first` = the oldest kept, `bytes` of those kept, `delivered`, `done`.
-- The calls: `stream:<stream>` = when its log was made, `/done` behind it; `count:streams` = how many of those there are.
-- They always live as long as the longest-lived log: else `end` would not find it.
local session, calls, logs, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms()
  return math.floor(now_us() / 1000)
end

-- A number as text: Lua's own way loses digits beyond the fourteenth.
local function text(number)
  return string.format('%.0f', number)
end

-- Lets what is there live `ttl` at least.
local function keep(key, ttl)
  if redis.call('PTTL', key) < tonumber(ttl) then
    redis.call('PEXPIRE', key, ttl)
  end
end

-- Calls `visit` with each stream whose log is noted.
local function each_stream(visit)
  for _, field in ipairs(redis.call('HKEYS', calls)) do
    if string.sub(field, 1, 7) == 'stream:' then
      visit(string.sub(field, 8))
    end
  end
end

local function drop(stream)
  redis.call('DEL', logs .. stream)
  redis.call('HDEL', calls, 'stream:' .. stream)
  redis.call('HDEL', session, 'attach:' .. stream, 'standby:' .. stream)
  return redis.call('HINCRBY', calls, 'count:streams', -1)
end

-- Takes off what has expired, and then the oldest that are done, until there are `most` logs.
local function make_room(new, count, most)
  local ended = {}
  each_stream(function(stream)
    if stream == new then
      return
    end
    if redis.call('EXISTS', logs .. stream) == 0 then
      count = drop(stream)
      return
    end
    local made, state = string.match(redis.call('HGET', calls, 'stream:' .. stream), '^(%d+)(.*)$')
    if state == '/done' then
      ended[#ended + 1] = {made = tonumber(made), stream = stream}
    end
  end)
  table.sort(ended, function(a, b) return a.made < b.made end)
  for i = 1, math.min(#ended, count - most) do
    drop(ended[i].stream)
  end
end

-- Makes the log, unless it is there.
local function make(stream, most)
  if redis.call('EXISTS', log) == 1 then
    return
  end
  local known = redis.call('HEXISTS', calls, 'stream:' .. stream)
  redis.call('HSET', calls, 'stream:' .. stream, text(now_ms()))
  redis.call('HSET', log, 'head', 0, 'first', 1, 'bytes', 0, 'delivered', 0)
  if known == 0 then
    local count = redis.call('HINCRBY', calls, 'count:streams', 1)
    if count > tonumber(most) then
      make_room(stream, count, tonumber(most))
    end
  end
end

-- Appends an event, lets the oldest go that are too many, and returns the event's number.
local function append(data, most_events, most_bytes)
  local head = redis.call('HINCRBY', log, 'head', 1)
  redis.call('HSET', log, text(head), data)
  local bytes = redis.call('HINCRBY', log, 'bytes', #data)
  local first = tonumber(redis.call('HGET', log, 'first'))
  local before = first
  while first < head and (head - first >= tonumber(most_events) or bytes > tonumber(most_bytes)) do
    bytes = bytes - redis.call('HSTRLEN', log, text(first))
    redis.call('HDEL', log, text(first))
    first = first + 1
  end
  if first > before then
    redis.call('HSET', log, 'first', text(first), 'bytes', text(bytes))
  end
  return head
end

-- Rings the node of a holder, unless it is `by`.
local function ring(holder, by, channel, bell)
  local node = holder and string.match(holder, '^[^/]*')
  if node and node ~= by then
    redis.call('PUBLISH', channel .. node, bell)
  end
end

-- The call's record, if there is such a call.
local function record_of(call)
  local record = redis.call('HGET', calls, call)
  return record and cjson.decode(record)
end
