-- Writes or renews a node's lease, unless that of another life of the node has not ended.
-- KEYS: the lease.
-- ARGV: its life in milliseconds; the node's life; then fields and values by turns.
-- Returns `renewed` and Redis's clock in milliseconds; or `taken`, when the other's lease ends, in milliseconds from now, and
-- where the other listens.
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HGET', KEYS[1], 'life') ~= ARGV[2] then
  local left = redis.call('PTTL', KEYS[1])
  if left > tonumber(ARGV[1]) then
    -- The clock has stepped back: no lease is longer than its life.
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
    left = tonumber(ARGV[1])
  end
  return {'taken', string.format('%.0f', math.max(left, 0)), redis.call('HGET', KEYS[1], 'address') or ''}
end
redis.call('HSET', KEYS[1], 'life', unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
local time = redis.call('TIME')
return {'renewed', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))}
