-- Writes or renews a node's lease.
-- KEYS: the lease.
-- ARGV: its life in milliseconds, then fields and values by turns.
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
