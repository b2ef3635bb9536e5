-- Returns the secrets that all nodes share, and takes in a fresh one when there is none or when the newest is too old.
-- KEYS: the secrets: `<name>` = text, `at:<name>` = when it was made, `newest` = the name of the one to seal with.
-- ARGV: the fresh one's name; its text; the time now; after how long the newest is too old; the hash's life. Times are
-- in milliseconds.
-- Returns the name of the newest, then names and texts by turns.
local key, name, now, rotate_after = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
local made, texts = {}, {}
local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  if string.sub(fields[i], 1, 3) == 'at:' then
    made[string.sub(fields[i], 4)] = tonumber(fields[i + 1])
  else
    texts[fields[i]] = fields[i + 1]
  end
end
local newest = texts['newest']

for other, at in pairs(made) do
  if now - at > 2 * rotate_after then
    redis.call('HDEL', key, other, 'at:' .. other)
    made[other] = nil
  end
end
if not newest or not made[newest] or now - made[newest] > rotate_after then
  newest = name
  made[name], texts[name] = now, ARGV[2]
  redis.call('HSET', key, name, ARGV[2], 'at:' .. name, ARGV[3], 'newest', name)
end
redis.call('PEXPIRE', key, ARGV[5])

local answer = {newest}
for other in pairs(made) do
  answer[#answer + 1] = other
  answer[#answer + 1] = texts[other]
end
return answer
