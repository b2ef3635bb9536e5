-- Takes a member off sets.
-- KEYS: the sets.
-- ARGV: the member.
for _, key in ipairs(KEYS) do
  redis.call('ZREM', key, ARGV[1])
end
return 1
