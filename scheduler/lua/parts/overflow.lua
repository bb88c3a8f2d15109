-- include: advance.lua
-- include: forecast.lua
-- include: keyed.lua
--
-- What becomes of a task that would have to wait where there is no room for it.
local RETRY_US = 1000000
-- So many make room for one, at most.
local MOST_SHED = 16
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

local function refuse(self, full, cost, size)
  local unit, waiting, most, surplus = capped.counts().lacks(full, size)
  local never = unit == 'bytes' and size > most
  local block_us = never and 0 or full.cap.block_us
  if block_us > 0 then
    redis.call('SET', key('wanted:' .. full.name), '1', 'PX', whole(math.ceil(block_us / 1000)))
  end
  local retry_us = never and -1 or drains_in(self, full, surplus, cost)
  return {'full', full.name, unit, whole(waiting), whole(most), whole(retry_us), whole(block_us)}
end

local function holds(scopes, name)
  for _, scope in ipairs(scopes) do
    if scope.name == name then
      return true
    end
  end
end

-- What the victims leave free in the scope.
local function freed(victims, scope)
  local tasks, bytes = 0, 0
  for _, each in ipairs(victims) do
    if holds(each.lane.scopes.capped, scope.name) then
      tasks, bytes = tasks + 1, bytes + each.bytes
    end
  end
  return tasks, bytes
end

local function victim_of(entry)
  local name, element = lane.from_entry(entry)
  local waiting = lane.cost(element)
  return {entry = entry, lane = lane.at(name), element = element, cost = waiting, bytes = redis.call('HSTRLEN', key('message'), waiting.task)}
end

-- Adds to the victims whoever must go for the task to find room in the scope; false if that is not enough.
local function choose(victims, scope, self, size)
  local counts, chosen = capped.counts(), {}
  for _, each in ipairs(victims) do
    chosen[each.entry] = true
  end
  for _, entry in ipairs(redis.call('ZRANGE', counts.sheddable(scope), 0, MOST_SHED)) do
    if not counts.lacks(scope, size, freed(victims, scope)) then
      return true
    end
    if not chosen[entry] then
      local victim = victim_of(entry)
      if victim.lane.priority > self.priority or #victims == MOST_SHED then
        return false
      end
      victims[#victims + 1] = victim
    end
  end
  return not counts.lacks(scope, size, freed(victims, scope))
end

-- Takes a task out for others. Its message stays among the `expired` until its caller has been told.
local function shed(victim, scope)
  local name, cost = victim.lane.name, victim.cost
  if redis.call('ZREM', key('delayed'), victim.entry) == 0 then
    lane.remove(victim.lane, victim.element)
  end
  local message = memory.forget(cost.task, name, cost.weight, cost.tokens_text)
  capped.leave(victim.lane.scopes, name, victim.element, cost.task, #message)
  redis.call('HSET', key('expired'), cost.task, '\29shed ' .. scope .. '\30' .. message)
end

-- Makes room for the task, or not: the reply that refuses or coalesces it, or nil if it is to be accepted; and whether
-- others were dropped for it. The narrowest scope comes first, because what goes there frees wider ones.
function overflow.settle(self, cost, size, due, under)
  local counts, scopes, victims = capped.counts(), self.scopes.capped, {}
  local full = counts.full(scopes, size)
  if not full or passes(self, cost, due) then
    return nil
  end
  for i = #scopes, 1, -1 do
    local scope = scopes[i]
    if counts.lacks(scope, size, freed(victims, scope)) and not (scope.cap.overflow == 'shed' and choose(victims, scope, self, size)) then
      local standing = under and scope.cap.overflow == 'coalesce' and keyed.waiting(under, due)
      return standing and {'coalesced', standing} or refuse(self, scope, cost, size)
    end
  end
  for _, each in ipairs(victims) do
    shed(each, full.name)
  end
  alarm.set(now)
  return nil, true
end
