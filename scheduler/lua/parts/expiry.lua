-- include: lane.lua
-- include: capped.lua
-- include: memory.lua
--
-- Takes out a task that has waited too long. It keeps its message among the `expired`, with the
-- limit that held it, until somebody has told its caller and settles it. A task that was released
-- in time, or is gone, is left alone.
local expiry = {}

function expiry.expire(entry)
  local name, element = lane.from_entry(entry)
  local self = lane.at(name)
  local waiting = lane.cost(element)
  waiting.priority = self.priority
  local _, holder = ledger.last_to_allow(self.scopes, waiting)
  if redis.call('ZREM', key('delayed'), entry) == 0 and not lane.remove(self, element) then
    return
  end
  local held_by = holder and holder.scope .. ' ' .. holder.rule.id or ''
  local message = memory.forget(waiting.task, name, whole(waiting.requests), whole(waiting.tokens))
  capped.leave(self.scopes, name, element, waiting.task, #message)
  redis.call('HSET', key('expired'), waiting.task, held_by .. '\30' .. message)
end
