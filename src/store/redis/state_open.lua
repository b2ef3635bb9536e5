-- Writes a new hash, unless the key is taken.
-- KEYS: the hash.
-- ARGV: its life in milliseconds, then fields and values by turns.
-- Returns 1 when it was written, 0 when the key was taken.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
