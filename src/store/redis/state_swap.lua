-- Writes one value of handlers' state if it is what the writer expects and if it fits; renews a notebook's life.
-- KEYS: the session, notebook or task.
-- ARGV: the field; how many bytes of its name count; what is expected there (any, absent, text); that text; what to do
-- (set, remove); the value; the most keys; the most bytes.
-- Returns `done` and what was there; `conflict` and what is there; `keys` or `bytes` when there would be too many of them;
-- `gone` when there is no such hash: a late write must not bring one back.
local key, field, name_bytes = KEYS[1], ARGV[1], tonumber(ARGV[2])
if redis.call('EXISTS', key) == 0 then
  return {'gone'}
end
local ttl = redis.call('HGET', key, 'ttl')
if ttl then
  redis.call('PEXPIRE', key, ttl)
end

local before = redis.call('HGET', key, field)
if (ARGV[3] == 'absent' and before) or (ARGV[3] == 'text' and before ~= ARGV[4]) then
  return {'conflict', before}
end

local keys = tonumber(redis.call('HGET', key, 'stateKeys') or '0')
local bytes = tonumber(redis.call('HGET', key, 'stateBytes') or '0')
local old_bytes, new_bytes = 0, 0
if before then
  old_bytes = name_bytes + #before
  keys = keys - 1
end
if ARGV[5] == 'set' then
  new_bytes = name_bytes + #ARGV[6]
  keys = keys + 1
  if not before and keys > tonumber(ARGV[7]) then
    return {'keys'}
  end
end
bytes = bytes - old_bytes + new_bytes
if new_bytes > old_bytes and bytes > tonumber(ARGV[8]) then
  return {'bytes'}
end

if ARGV[5] == 'set' then
  redis.call('HSET', key, field, ARGV[6], 'stateKeys', keys, 'stateBytes', bytes)
else
  redis.call('HDEL', key, field)
  redis.call('HSET', key, 'stateKeys', keys, 'stateBytes', bytes)
end
return {'done', before}
