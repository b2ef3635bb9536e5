-- Notes that a node has a call in flight.
-- KEYS: the node's calls.
-- ARGV: the call; for how long the notes live at least, in milliseconds.
redis.call('HSET', KEYS[1], ARGV[1], '1')
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
