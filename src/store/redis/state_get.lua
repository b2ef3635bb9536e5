-- Reads one value of handlers' state, and renews the life of the notebook it is in. (The hash of a session or task names no `ttl`.)
-- KEYS: the session, notebook or task.
-- ARGV: the field.
-- Returns an empty list when there is no such hash; else `here` and the field's value, nil when there is none.
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
  return {}
end
local ttl = redis.call('HGET', key, 'ttl')
if ttl then
  redis.call('PEXPIRE', key, ttl)
end
return {'here', redis.call('HGET', key, ARGV[1])}
