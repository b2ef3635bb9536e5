-- Renews a session's life.
-- KEYS: the session, then what must live as long as it does.
-- ARGV: its life in milliseconds; the time of this activity.
-- Returns whom the session counts for in a list, or an empty list when there is no such session: a late touch must not bring
-- one back.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
redis.call('HSET', KEYS[1], 'lastActivity', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
for i = 2, #KEYS do
  if redis.call('PTTL', KEYS[i]) < tonumber(ARGV[1]) then
    redis.call('PEXPIRE', KEYS[i], ARGV[1])
  end
end
return {redis.call('HGET', KEYS[1], 'peer') or ''}
