-- Reads all of a hash that has handlers' state, and renews the life of a notebook. (The hash of a session or task names no `ttl`.)
-- KEYS: the session, notebook or task.
-- Returns an empty list when there is no such hash; else `here` and then all its fields and values by turns.
local key = KEYS[1]
if redis.call('EXISTS', key) == 0 then
  return {}
end
local ttl = redis.call('HGET', key, 'ttl')
if ttl then
  redis.call('PEXPIRE', key, ttl)
end
local all = redis.call('HGETALL', key)
table.insert(all, 1, 'here')
return all
