-- Notes what a session was told.
-- KEYS: the session.
-- ARGV: the field; the text.
-- Returns 1, or 0 when there is no such session: a late note must not bring one back.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
