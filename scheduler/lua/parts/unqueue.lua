-- include: advance.lua
-- include: memory.lua
--
-- Takes a task out that waits or is delayed, and returns its message; nil if it is not in that lane.
-- Nothing was charged for it, so nothing is given back.
local function unqueue(task, lane_name, weight, tokens)
  local element = lane.element(weight, tokens, task)
  local self = lane.at(lane_name)
  local delayed = redis.call('ZREM', key('delayed'), lane.entry(lane_name, element)) == 1
  if not delayed and not lane.remove(self, element) then
    return nil
  end
  local message = memory.forget(task, lane_name, weight, tokens)
  capped.leave(self.scopes, lane_name, element, task, #message)
  return message
end
