-- Says whose notebook this is, and renews its life if it is the asker's.
-- KEYS: the notebook.
-- ARGV: its life in milliseconds; who asks.
-- Returns the principal, and whom the notebook counts for if it is long ago that its life was renewed; an empty list when
-- there is no such notebook.
local principal = redis.call('HGET', KEYS[1], 'principal')
if not principal then
  return {}
end
local peer = ''
if principal == ARGV[2] then
  -- Only once for each such part of its life: it is counted elsewhere.
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) * 19 / 20 then
    peer = redis.call('HGET', KEYS[1], 'peer') or ''
  end
  redis.call('HSET', KEYS[1], 'ttl', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {principal, peer}
