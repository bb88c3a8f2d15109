-- include: advance.lua
-- include: memory.lua
--
-- Takes a task out that waits or is delayed, and returns its message; nil if it is not in that lane.
-- Nothing was charged for it, so nothing is given back.
local function unqueue(task, lane_name, weight, tokens)
  local element = lane.element(weight, tokens, task)
  local delayed = redis.call('ZREM', key('delayed'), lane.entry(lane_name, element)) == 1
  if not delayed and not lane.remove(lane.at(lane_name), element) then
    return nil
  end
  return memory.forget(task, lane_name, weight, tokens)
end
