-- Reads handlers' state, and renews the life of the notebook it is in. (The hash of a session or task names no `ttl`.)
-- KEYS: the session, notebook or task.
-- ARGV: the field to read; without it, all are read.
-- Returns an empty list when there is no such hash; else the field's value in a list that starts with `here`; without
-- ARGV, `here` and then all the hash's fields and values by turns.
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
  return {}
end
local ttl = redis.call('HGET', key, 'ttl')
if ttl then
  redis.call('PEXPIRE', key, ttl)
end
if ARGV[1] then
  return {'here', redis.call('HGET', key, ARGV[1])}
end
local all = redis.call('HGETALL', key)
table.insert(all, 1, 'here')
return all
