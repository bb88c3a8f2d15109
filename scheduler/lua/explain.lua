-- include: clock.lua
-- include: keys.lua
-- include: advance.lua
-- include: forecast.lua
--
-- Says where a task is, and what holds it. Changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV lane_name: the lane
-- ARGV weight: request units
-- ARGV tokens: token units
--
-- Returns {state, position, scope, limit, in_us, start_us}: 'waiting', 'delayed', 'releasing' (released, and
-- not published yet), 'released', 'running' or 'unknown' (not here, or not in that lane); how many wait before
-- it in its lane; the limit that would refuse it now, '' for none; microseconds until that limit, or the delay, lets it go, -1 if
-- nobody knows (it is paused); microseconds until its release, as forecast.lua says, -1 if nobody knows.
local held = lease.of(task)
if held then
  local is_releasing = redis.call('ZSCORE', RELEASING, outbox.entry(task, held.fence))
  return {lease.is_claimed(held) and 'running' or is_releasing and 'releasing' or 'released', 0, '', '', 0, -1}
end

definitions.use_current()
local element = lane.element(weight, tokens, task)
local due = redis.call('ZSCORE', key('delayed'), lane.entry(lane_name, element))
if due then
  local wait = whole(math.max(0, due - now))
  return {'delayed', 0, '', '', wait, wait}
end
local self = lane.at(lane_name)
local position = redis.call('LPOS', self.key, element)
if not position then
  return {'unknown', 0, '', '', 0, -1}
end
local function in_us(time)
  return time == math.huge and '-1' or whole(time - now)
end

local cost = lane.cost(element)
local start = in_us(forecast.start(self, position, cost))
local allow_at, limit = ledger.last_to_allow(self.scopes, cost)
if not limit then
  return {'waiting', position, '', '', 0, start}
end
return {'waiting', position, limit.scope, limit.rule.id, in_us(allow_at), start}
