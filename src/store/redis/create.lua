-- Writes a new session, unless there is one. Before it stands log.lua.
-- ARGV: its life in milliseconds, then fields and values by turns.
-- Returns 1 when it was written, 0 when the key was taken.
if redis.call('EXISTS', session) == 1 then
  return 0
end
-- First, so that a Redis that is full refuses the whole of it: once a script has deleted something it may write on.
redis.call('HSET', session, unpack(ARGV, 2))
redis.call('PEXPIRE', session, ARGV[1])
-- What an expired session of this id has left behind is not the new one's.
each_stream(function(stream) redis.call('DEL', logs .. stream) end)
redis.call('DEL', calls, early)
return 1
