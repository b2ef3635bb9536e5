-- Reads fields of a session, and notes a node that keeps a copy from now on when the session is initialized.
-- KEYS: the session.
-- ARGV: the field that stands for the node; the node's life; then the fields to read, of which the first is the version.
-- Returns the fields' values: all nil when there is no such session. Of a session of a later version they are returned
-- too, but no copy is noted: the caller sees the version and refuses it.
local values = redis.call('HMGET', KEYS[1], unpack(ARGV, 3))
local last = #values
if values[1] == '1' and values[last] and string.sub(values[last], 1, 1) == '[' then
  -- Of version 1 the subscriptions are a JSON list. A Redis that takes no writes leaves it at that.
  local lines, told = {''}, {}
  for _, uri in ipairs(cjson.decode(values[last])) do
    lines[#lines + 1] = (cjson.encode(uri):gsub('\\/', '/'))
    told[#told + 1] = 'told:resource:' .. uri
  end
  local text = table.concat(lines, '\n') .. '\n'
  local written = redis.pcall('HSET', KEYS[1], 'v', 2, ARGV[#ARGV], text)
  if type(written) == 'number' then
    values[1], values[last] = '2', text
    -- What it was told is not known any longer: it is told of each that has a version.
    for _, field in ipairs(told) do
      redis.call('HSETNX', KEYS[1], field, 0)
    end
  end
end
if (values[1] == '1' or values[1] == '2') and redis.call('HGET', KEYS[1], 'initialized') == '1' then
  -- Only when it is not there, so that a Redis that takes no writes can be read.
  if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  end
end
return values
