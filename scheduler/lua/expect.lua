-- include: clock.lua
-- include: keys.lua
-- include: standing.lua
--
-- Says where a task is, as explain.lua does, and remembers when it is expected to be released, so that its
-- worker can hold that against the truth. A second call for the same task changes nothing that is remembered.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV lane_name: the lane
-- ARGV weight: request units
-- ARGV tokens: token units
-- ARGV keep_us: how long it is remembered beyond the time that it is expected, if nobody judges it: microseconds
--
-- Returns what explain.lua returns.
local reply = standing(task, lane_name, weight, tokens)
local status, in_us = reply[1], tonumber(reply[6])
if status == 'waiting' and in_us >= 0 then
  local start = now + in_us
  redis.call('SET', key('expected:' .. task), whole(now) .. ' ' .. whole(start), 'NX', 'PX', ttl_until(start + tonumber(keep_us)))
end
return reply
