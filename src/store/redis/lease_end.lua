-- Ends a node's lease, if it is that of this life of the node.
-- KEYS: the lease.
-- ARGV: the node's life.
-- Returns 1 when it was that, or there was none; else 0.
local life = redis.call('HGET', KEYS[1], 'life')
if life and life ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
return 1
