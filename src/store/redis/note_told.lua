-- Notes what a session was told of changes, each for itself.
-- KEYS: the session.
-- ARGV: by turns, a field; the version; 1 to leave what is there; and what must stand among the subscriptions, if anything.
-- A late note must not bring a session back, nor a subscription.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
local subscriptions = redis.call('HGET', KEYS[1], 'subscriptions') or ''
for i = 1, #ARGV, 4 do
  local field, version, first, wanted = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if wanted == '' or string.find(subscriptions, wanted, 1, true) then
    local known = redis.call('HGET', KEYS[1], field)
    if not known or (first ~= '1' and tonumber(known) < tonumber(version)) then
      redis.call('HSET', KEYS[1], field, version)
    end
  end
end
return 1
