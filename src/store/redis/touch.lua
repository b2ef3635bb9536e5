-- Renews a session's life.
-- KEYS: the session; its calls; the logs of its standing streams, `get` and `sse`, which live as long while they are carried.
-- ARGV: its life in milliseconds; the time of this activity.
-- Returns the peer it counts for in a list, or an empty list when there is no such session: a late touch must not bring
-- one back.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
redis.call('HSET', KEYS[1], 'lastActivity', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for i, field in ipairs({'', 'attach:get', 'attach:sse'}) do
  local lives = field == '' or redis.call('HEXISTS', KEYS[1], field) == 1
  if lives and redis.call('PTTL', KEYS[i + 1]) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[i + 1], ARGV[1])
  end
end
return {redis.call('HGET', KEYS[1], 'peer') or ''}
