-- Gives a resource of the session's own that has changed a version, if the session is subscribed to it.
-- KEYS: the session.
-- ARGV: the URI; how it stands among the subscriptions.
-- Returns `unwanted`; or `carried` when somebody carries the session's standing stream; or `noted`.
local key, field = KEYS[1], 'own:' .. ARGV[1]
if not string.find(redis.call('HGET', key, 'subscriptions') or '', ARGV[2], 1, true) then
  return 'unwanted'
end
local time = redis.call('TIME')
local version = math.max(time[1] * 1000000 + time[2], tonumber(redis.call('HGET', key, field) or 0) + 1)
redis.call('HSET', key, field, string.format('%.0f', version))
for _, carried in ipairs(redis.call('HMGET', key, 'attach:get', 'attach:sse')) do
  if carried then
    return 'carried'
  end
end
return 'noted'
