-- Says whose this is, and renews the life of a notebook if it is the asker's. (The hash of a session or task names no `ttl`.)
-- KEYS: the session, notebook or task.
-- ARGV: a notebook's life in milliseconds; who asks.
-- Returns the principal, and the peer the notebook counts for if it is some time ago that this was said; an empty list when there is
-- no such hash.
local principal = redis.call('HGET', KEYS[1], 'principal')
if not principal then
  return {}
end
local peer = ''
if principal == ARGV[2] and redis.call('HEXISTS', KEYS[1], 'ttl') == 1 then
  -- Only once for each such part of its life, however often it is used: it is counted elsewhere.
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local counted = tonumber(redis.call('HGET', KEYS[1], 'counted') or '0')
  if now - counted >= tonumber(ARGV[1]) / 20 then
    redis.call('HSET', KEYS[1], 'counted', string.format('%.0f', now))
    peer = redis.call('HGET', KEYS[1], 'peer') or ''
  end
  redis.call('HSET', KEYS[1], 'ttl', ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {principal, peer}
