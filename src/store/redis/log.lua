-- What the scripts about event logs share: it stands in front of each of them.
-- KEYS: the session; its calls; what the keys of its logs start with; the log in question.
-- A log: `<n>` = event n, `head` = the newest, `first` = the oldest kept, `bytes` of those kept, `delivered`, `done`.
-- The calls: `stream:<stream>` = when its log was made; `count:streams` = how many of those there are, `count:bytes` = how
-- many bytes their events are, each at least; `count:swept` = when both were counted; `count:tight` = when there was no room to be had.
-- They always live as long as the longest-lived log: else `end` would not find it.
-- The session: `kept:<stream>` = the newest event of a standing stream and the last that was delivered, for when its log has ended.
local session, calls, logs, log = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- Answers to calls that are not registered.
local early = calls .. ':early'

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
end

-- Takes off what is noted of logs that have expired, and counts the others again: their bytes are not known any longer when
-- they expire. When there are too many logs or bytes, the oldest that are done go, until a quarter of what may be is free:
-- so this is not paid by each call. Returns how many bytes are left.
local function make_room(new, most, most_bytes)
  local now, count, bytes, ended = now_ms(), 0, 0, {}
  for _, field in ipairs(redis.call('HKEYS', calls)) do
    if string.sub(field, 1, 7) == 'stream:' then
      local stream = string.sub(field, 8)
      local log_bytes, done = unpack(redis.call('HMGET', logs .. stream, 'bytes', 'done'))
      if not log_bytes then
        drop(stream)
      else
        count, bytes = count + 1, bytes + tonumber(log_bytes)
        if done and stream ~= new then
          local made = tonumber(string.match(redis.call('HGET', calls, field), '^%d+'))
          ended[#ended + 1] = {made = made, stream = stream, bytes = tonumber(log_bytes)}
        end
      end
    elseif string.sub(field, 1, 6) == 'ended:' and tonumber(redis.call('HGET', calls, field)) <= now then
      redis.call('HDEL', calls, field)
    end
  end
  table.sort(ended, function(a, b) return a.made < b.made end)
  local count_left = count > most and math.floor(most * 3 / 4) or most
  local bytes_left = bytes > most_bytes and math.floor(most_bytes * 3 / 4) or most_bytes
  for _, old in ipairs(ended) do
    if count <= count_left and bytes <= bytes_left then
      break
    end
    drop(old.stream)
    count, bytes = count - 1, bytes - old.bytes
  end
  redis.call('HSET', calls, 'count:streams', count, 'count:bytes', text(bytes), 'count:swept', text(now))
  return bytes
end

-- Takes off what is noted of logs that have expired, unless that was done within `every` milliseconds.
local function sweep(every, most, most_bytes)
  local swept = redis.call('HGET', calls, 'count:swept')
  if not swept then
    redis.call('HSET', calls, 'count:swept', text(now_ms()))
  elseif now_ms() - tonumber(swept) >= every then
    make_room('', tonumber(most), tonumber(most_bytes))
  end
end

-- Whether a stream is its session's, and not a call's.
local function stands(stream)
  return stream == 'get' or stream == 'sse'
end

-- Lets the log of a standing stream live as long as its session while it is carried, and else `ttl` from now. It is never
-- numbered afresh. Returns its life.
local function settle(stream, holder, ttl)
  local life = redis.call('PTTL', session)
  if not holder then
    local head, delivered = unpack(redis.call('HMGET', log, 'head', 'delivered'))
    redis.call('HSET', session, 'kept:' .. stream, head .. '/' .. delivered)
    life = math.min(life, tonumber(ttl))
  end
  redis.call('PEXPIRE', log, life)
  return life
end

-- Makes the log, unless it is there. That of a standing stream goes on from the numbers that were kept.
local function make(stream, most, most_bytes)
  if redis.call('EXISTS', log) == 1 then
    return
  end
  local known = redis.call('HEXISTS', calls, 'stream:' .. stream)
  redis.call('HSET', calls, 'stream:' .. stream, text(now_ms()))
  local head, delivered = string.match(redis.call('HGET', session, 'kept:' .. stream) or '0/0', '^(%d+)/(%d+)$')
  redis.call('HSET', log, 'head', head, 'first', text(head + 1), 'bytes', 0, 'delivered', delivered)
  if known == 0 and redis.call('HINCRBY', calls, 'count:streams', 1) > tonumber(most) then
    make_room(stream, tonumber(most), tonumber(most_bytes))
  end
end

-- Whether room may be had by letting other logs go. When there was none, it is not looked for again within a second,
-- unless a call has ended since.
local function may_make_room()
  local tight = redis.call('HGET', calls, 'count:tight')
  return not tight or now_ms() - tonumber(tight) >= 1000
end

-- Appends an event, lets the oldest go that are too many, and returns the event's number. When the session's logs have too
-- many bytes together, those that are done go first, and then the oldest events of this one; never the newest.
local function append(stream, data, most_events, most_bytes, most_streams, most_in_all)
  most_events, most_bytes, most_in_all = tonumber(most_events), tonumber(most_bytes), tonumber(most_in_all)
  local head = redis.call('HINCRBY', log, 'head', 1)
  redis.call('HSET', log, text(head), data)
  local bytes = redis.call('HINCRBY', log, 'bytes', #data)
  local in_all = redis.call('HINCRBY', calls, 'count:bytes', #data)
  local first = tonumber(redis.call('HGET', log, 'first'))
  local before, gone = first, 0
  local function drop_oldest()
    local size = redis.call('HSTRLEN', log, text(first))
    redis.call('HDEL', log, text(first))
    first, bytes, in_all, gone = first + 1, bytes - size, in_all - size, gone + size
  end
  while first < head and (head - first >= most_events or bytes > most_bytes) do
    drop_oldest()
  end
  if in_all > most_in_all and may_make_room() then
    redis.call('HSET', log, 'bytes', text(bytes))
    in_all, gone = make_room(stream, tonumber(most_streams), most_in_all), 0
    if in_all > most_in_all then
      redis.call('HSET', calls, 'count:tight', text(now_ms()))
    end
  end
  while first < head and in_all > most_in_all do
    drop_oldest()
  end
  if first > before then
    redis.call('HSET', log, 'first', text(first), 'bytes', text(bytes))
  end
  if gone > 0 then
    redis.call('HINCRBY', calls, 'count:bytes', -gone)
  end
  return head
end

-- The node of a holder, or of a node and its life.
local function node_of(text)
  return string.match(text, '^[^/]*')
end

-- Sends a message to the node of a holder, unless it is `by`: a node, or a node and its life.
local function send(holder, by, channel, message)
  if holder and node_of(holder) ~= node_of(by) then
    redis.call('PUBLISH', channel .. node_of(holder), message)
  end
end

-- The call's record, if there is such a call.
local function record_of(call)
  local record = redis.call('HGET', calls, call)
  return record and cjson.decode(record)
end

-- Whether a call is one of `by`, a node and its life: what another life of the node runs is not.
local function is_of(record, by)
  return record.node .. '/' .. (record.life or '') == by
end
