-- include: clock.lua
-- include: keys.lua
-- include: unqueue.lua
--
-- Discards tasks that wait in a lane, the newest first, and tells nobody. Nothing was charged for them.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV lane_name: the lane
-- ARGV most: how many, at most
--
-- Returns how many there were: fewer than `most` once the lane is empty.
local name = key('lane:' .. lane_name)
local size = redis.call('LLEN', name)
local gone = math.min(size, tonumber(most))
if gone == 0 then
  return 0
end
definitions.use_current()
local elements = redis.call('LRANGE', name, -gone, -1)
-- The head is what the lane's place depends on: it goes last, and takes the place along.
local first = gone == size and 2 or 1
if first <= gone then
  redis.call('RPOP', name, gone - first + 1)
end
for i = first, gone do
  local each = lane.cost(elements[i])
  local message = memory.forget(each.task, lane_name, each.weight, each.tokens_text)
  capped.leave(lane.at(lane_name).scopes, lane_name, elements[i], each.task, #message)
end
if first == 2 then
  local head = lane.cost(elements[1])
  unqueue(head.task, lane_name, head.weight, head.tokens_text)
end
save()
return gone
