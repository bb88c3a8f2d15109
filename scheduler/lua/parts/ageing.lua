-- Who goes first at a gate where priorities age. With `priority_ageing` a waiting task gains one level in
-- each `step` of time, so of two tasks the one with the lower
--
--     rank = since - priority * step
--
-- goes first, whatever time it is: nothing is written anew as the time passes. Inside a priority the lanes
-- keep their fair order: each priority speaks through the first of its lanes, and the gate is for the one
-- whose head has the lowest rank. But whoever may use a limit's reserve goes before all who may not.
--
-- Without ageing the first is the best of the highest priority, and all this costs a look at a table.
local SINCE, SINCE_AT = '<d', 9
local NOBODY = 10
local ageing = {}

-- The time in which a level is gained, or nil. Work that no limit concerns does not ask for it.
local function step()
  local realm = definitions.scopes.global
  return realm and realm.order.ageing
end

local function since(self)
  local head = lane.head(self)
  if not head.since then
    head.since = struct.unpack(SINCE, redis.call('HGET', key('message'), head.task), SINCE_AT)
  end
  return head.since
end

-- The priority as which the lane stands among the ready.
function ageing.level(self)
  local gained = step() and math.floor((now - since(self)) / step()) or 0
  return math.min(9, self.priority + math.max(0, gained))
end

-- From which priority on work may use a reserve here.
local function favoured_from(self)
  local scope = self.scopes[1]
  for i = 1, scope and #scope.limits or 0 do
    if scope.limits[i].rule.below then
      return scope.limits[i].rule.reserved_for
    end
  end
  return NOBODY
end

local function precedes(self, one, other)
  local from = favoured_from(self)
  if (one.priority >= from) ~= (other.priority >= from) then
    return one.priority >= from
  end
  return since(one) - one.priority * step() <= since(other) - other.priority * step()
end

-- The name and the score of the lane that the gate is for, or nil.
function gate.first(self)
  local name, score = fair_queue.peek(self)
  if not name or not step() or patience.holds(name) then
    return name, score
  end
  local leaders = fair_queue.leaders(self)
  local best = leaders[1]
  for i = 1, #leaders do
    local leader = lane.at(leaders[i].name)
    if not lane.head(leader) then
      return leader.name, leaders[i].score
    elseif i > 1 and not precedes(self, lane.at(best.name), leader) then
      best = leaders[i]
    end
  end
  return best.name, best.score
end

-- Whether whoever waits at the gate goes before the lane.
function gate.outranks(self, other)
  if fair_queue.outranks(self, other.priority) then
    return true
  end
  local name = step() and gate.first(self)
  return name and (not lane.head(lane.at(name)) or precedes(self, lane.at(name), other))
end
