-- include: clock.lua
-- include: keys.lua
--
-- Holds a forecast against the truth, once: how long the task was expected to wait, and how long it did.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV ago_us: how long ago it started: microseconds
-- ARGV most: judgements that are kept
--
-- Returns 'judged', or 'unknown' if nothing is remembered of the task.
local expected = redis.call('GET', key('expected:' .. task))
if not expected then
  return 'unknown'
end
redis.call('DEL', key('expected:' .. task))
local asked_at, start = string.match(expected, '^(%d+) (%d+)$')
local waited = math.max(0, now - tonumber(ago_us) - tonumber(asked_at))
redis.call('LPUSH', key('forecasts'), whole(start - asked_at) .. ' ' .. whole(waited))
redis.call('LTRIM', key('forecasts'), 0, tonumber(most) - 1)
return 'judged'
