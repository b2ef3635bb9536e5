-- Says whose notebook this is, and renews its life if it is the asker's.
-- KEYS: the notebook.
-- ARGV: its life in milliseconds; who asks.
-- Returns the principal, or nil when there is no such notebook.
local principal = redis.call('HGET', KEYS[1], 'principal')
if principal == ARGV[2] then
  redis.call('HSET', KEYS[1], 'ttl', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return principal
