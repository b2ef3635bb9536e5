-- Changes a session's record and says who keeps copies. Before it stands record.lua.
-- KEYS: the session; its calls; the logs of its standing streams, `get` and `sse`, which live as long while they are carried.
-- ARGV: its life in milliseconds, 0 to leave it as it is; what the channel of a node starts with; the message to the
-- nodes that carry its streams; what to change (set, subscribe, unsubscribe); then fields and values by turns, or how the subscription stands
-- among the others, how many there may be, and the fields that end with it.
-- Returns `changed`, the peer it counts for and the fields of the nodes that keep copies; or `full`; or `gone`.
local key, what, name, value = KEYS[1], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', key) == 0 then
  return {'gone'}
end

if what == 'set' then
  redis.call('HSET', key, unpack(ARGV, 5))
  if name == 'initialized' then
    -- No copy was kept before, so nobody is named who would read it again: but a stream may be carried.
    local told = {}
    for _, holder in ipairs({redis.call('HGET', key, 'attach:get') or '', redis.call('HGET', key, 'attach:sse') or ''}) do
      local node = string.match(holder, '^[^/]*')
      if node ~= '' and not told[node] then
        told[node] = true
        redis.call('PUBLISH', ARGV[2] .. node, ARGV[3])
      end
    end
  end
else
  local all = subscriptions_of(key)
  if all == '' then
    all = '\n'
  end
  local at = string.find(all, name, 1, true)
  if what == 'subscribe' and not at then
    local count, line = -1, 0
    repeat
      count, line = count + 1, string.find(all, '\n', line + 1, true)
    until not line
    if count > tonumber(value) then
      return {'full'}
    end
    all = all .. string.sub(name, 2)
  elseif what == 'unsubscribe' and at then
    all = string.sub(all, 1, at) .. string.sub(all, at + #name)
    redis.call('HDEL', key, unpack(ARGV, 7))
  end
  redis.call('HSET', key, 'subscriptions', all)
end
if ARGV[1] ~= '0' then
  redis.call('PEXPIRE', key, ARGV[1])
  for i, field in ipairs({'', 'attach:get', 'attach:sse'}) do
    local lives = field == '' or redis.call('HEXISTS', key, field) == 1
    if lives and redis.call('PTTL', KEYS[i + 1]) < tonumber(ARGV[1]) then
      redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
    end
  end
end

local answer = {'changed', redis.call('HGET', key, 'peer') or ''}
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 5) == 'held:' then
    answer[#answer + 1] = field
  end
end
return answer
