-- include: advance.lua
-- include: forecast.lua
--
-- What becomes of a task that would have to wait where there is no room for it.
local RETRY_US = 1000000
local overflow = {}

-- Whether the task would go before all that waits, and be released in the same call.
local function passes(self, cost, due)
  if due > now or lane.head(self) or fair_queue.outranks(ready.queue, self.priority) then
    return false
  end
  local entering = {name = self.name, priority = self.priority, first = {since = now}}
  for _, each in ipairs(lane.gates(self)) do
    if not each.is_empty and cost[each.unit] > 0 and gate.outranks(each, entering) then
      return false
    end
  end
  local _, refusing = ledger.last_to_allow(self.scopes, cost)
  return not refusing
end

-- Whether all work of the narrow scope is work of the wide one.
local function contains(wide, narrow)
  return wide == narrow or wide == 'global' or wide == 'service:' .. (string.match(narrow, '^endpoint:([^/]*)') or '')
end

-- How long until the limits that all work of the scope must pass have admitted so many tasks, as far as
-- anybody knows.
local function drains_in(self, full, count, cost)
  local passed = {}
  for _, each in ipairs(self.scopes) do
    for _, scope in ipairs(each.scopes or {each}) do
      if contains(scope.name, full.name) then
        passed[#passed + 1] = scope
      end
    end
  end
  local drained_at = forecast.admission(passed[1] and passed or self.scopes, count, cost)
  return drained_at > now and drained_at < math.huge and drained_at - now or RETRY_US
end

-- The reply that refuses the task, or nil if it is to be accepted.
function overflow.refusal(self, cost, size, due)
  local counts, own = capped.counts(), self.scopes
  local full = counts.full(own.capped, size)
  if not full or passes(self, cost, due) then
    return nil
  end
  local unit, waiting, most, surplus = counts.lacks(full, size)
  local never = unit == 'bytes' and size > most
  return {'full', full.name, unit, whole(waiting), whole(most), never and -1 or whole(drains_in(self, full, surplus, cost))}
end
