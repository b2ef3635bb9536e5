-- Writes who the client of a session of HTTP+SSE is, and says who keeps copies. A client that introduces itself once more was
-- started again: its ids begin again, so nothing of its former life may reach it. Before it stands log.lua; its log is the
-- session's stream.
-- ARGV: the session's life in milliseconds, 0 to leave it as it is; what stands for a client that has not introduced itself;
-- what the channel of a node starts with; the message to the nodes that run its calls; then fields and values by turns.
-- Returns `changed` and the fields of the nodes that keep copies; or `gone`.
if redis.call('EXISTS', session) == 0 then
  return {'gone'}
end

local function begin_anew()
  local nodes = {}
  for _, field in ipairs(redis.call('HKEYS', calls)) do
    if string.match(field, '^cancelled:') or string.match(field, '^request:') then
      redis.call('HDEL', calls, field)
    elseif string.match(field, '^%w+$') and string.sub(redis.call('HGET', calls, field), 1, 1) == '{' then
      -- A call: what else is in this hash under a plain name is a number.
      redis.call('HSET', calls, 'stop:' .. field, 1)
      nodes[record_of(field).node] = true
    end
  end
  for node in pairs(nodes) do
    redis.call('PUBLISH', ARGV[3] .. node, ARGV[4])
  end
  local head = redis.call('HGET', log, 'head')
  if head then
    for number = tonumber(redis.call('HGET', log, 'first')), tonumber(head) do
      redis.call('HDEL', log, text(number))
    end
    -- Taken from 0, because Lua writes the opposite of 0 as `-0`, which is no number to Redis.
    redis.call('HINCRBY', calls, 'count:bytes', text(0 - tonumber(redis.call('HGET', log, 'bytes'))))
    redis.call('HSET', log, 'first', text(head + 1), 'bytes', 0, 'delivered', head)
  end
  local kept = string.match(redis.call('HGET', session, 'kept:sse') or '', '^%d+')
  if kept then
    redis.call('HSET', session, 'kept:sse', (head or kept) .. '/' .. (head or kept))
  end
end

local before = redis.call('HGET', session, 'clientInfo')
redis.call('HSET', session, unpack(ARGV, 5))
if before ~= ARGV[2] then
  begin_anew()
end
if ARGV[1] ~= '0' then
  redis.call('PEXPIRE', session, ARGV[1])
  keep(calls, ARGV[1])
  if redis.call('HEXISTS', session, 'attach:sse') == 1 then
    keep(log, ARGV[1])
  end
end

local answer = {'changed'}
for _, field in ipairs(redis.call('HKEYS', session)) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  end
end
return answer
