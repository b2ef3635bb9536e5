-- Changes a session's record and says who keeps copies.
-- KEYS: the session; its calls; the logs of its standing streams, `get` and `sse`, which live as long while they are carried.
-- ARGV: its life in milliseconds, 0 to leave it as it is; what the channel of a node starts with; what the ring of a stream
-- starts with; what to change (set, subscribe, unsubscribe); then fields and values by turns, or the URI and how many
-- subscriptions there may be.
-- Returns `changed`, the peer it counts for and the fields that stand for holders; or `full`; or `gone`.
local key, what, name, value = KEYS[1], ARGV[4], ARGV[5], ARGV[6]
if redis.call('EXISTS', key) == 0 then
  return {'gone'}
end

if what == 'set' then
  redis.call('HSET', key, unpack(ARGV, 5))
  if name == 'initialized' then
    -- No copy was kept before, so nobody is named who would read it again: but a stream may be carried.
    for _, stream in ipairs({'get', 'sse'}) do
      local holder = redis.call('HGET', key, 'attach:' .. stream)
      if holder then
        redis.call('PUBLISH', ARGV[2] .. string.match(holder, '^[^/]*'), ARGV[3] .. stream .. '"}')
      end
    end
  end
else
  local uris = cjson.decode(redis.call('HGET', key, 'subscriptions') or '[]')
  local kept, known = {}, false
  for _, uri in ipairs(uris) do
    known = known or uri == name
    if uri ~= name or what == 'subscribe' then
      kept[#kept + 1] = uri
    end
  end
  if what == 'subscribe' and not known then
    if #kept >= tonumber(value) then
      return {'full'}
    end
    kept[#kept + 1] = name
  end
  -- cjson writes an empty table as an object, and escapes slashes, which people who look at the hash need not see.
  redis.call('HSET', key, 'subscriptions', #kept == 0 and '[]' or (cjson.encode(kept):gsub('\\/', '/')))
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
