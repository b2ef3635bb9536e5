-- What the scripts about a session's record share: it stands in front of them.

-- The subscriptions of a session: each as JSON on a line of its own. Those of a record of version 1 are a JSON list: the record
-- becomes one of version 2. What that session was told is not known, so it is told of each resource that has a version.
local function subscriptions_of(key)
  local all = redis.call('HGET', key, 'subscriptions') or ''
  if string.sub(all, 1, 1) ~= '[' then
    return all
  end
  local lines, told = {''}, {}
  for _, uri in ipairs(cjson.decode(all)) do
    lines[#lines + 1] = (cjson.encode(uri):gsub('\\/', '/'))
    told[#told + 1] = 'told:resource:' .. uri
  end
  all = table.concat(lines, '\n') .. '\n'
  redis.call('HSET', key, 'v', 2, 'subscriptions', all)
  for _, field in ipairs(told) do
    redis.call('HSETNX', key, field, 0)
  end
  return all
end

