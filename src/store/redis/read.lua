-- Reads what follows an event of a stream.
-- KEYS: the session; the log.
-- ARGV: the event's number; the most events to read; the field that says who carries the stream; the most bytes to read, though
-- one event is read, of any length.
-- Returns the number of the oldest event that is kept, of the newest, 1 when no more will come, the number of the first
-- event that follows, who carries the stream, the newest that was delivered, and then these events; an empty list when there is no such session or
-- stream.
local values = redis.call('HMGET', KEYS[2], 'first', 'head', 'done', 'delivered')
if not values[2] or redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local first, head = tonumber(values[1]), tonumber(values[2])
local from = math.max(first, tonumber(ARGV[1]) + 1)
local answer = {values[1], values[2], values[3] or '0', string.format('%.0f', from),
  redis.call('HGET', KEYS[1], ARGV[3]) or '', values[4] or '0'}
local last = math.min(head, from + tonumber(ARGV[2]) - 1)
local bytes = 0
for number = from, last do
  local event = redis.call('HGET', KEYS[2], string.format('%.0f', number))
  bytes = bytes + #event
  if number > from and bytes > tonumber(ARGV[4]) then
    break
  end
  answer[#answer + 1] = event
end
return answer
