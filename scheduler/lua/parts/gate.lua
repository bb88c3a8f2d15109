-- include: fair_queue.lua
-- include: alarm.lua
-- include: turn.lua
--
-- A gate is where lanes park that a limit refused: one for each scope and unit, because the limits
-- of one scope in one unit refuse the same work. Nobody looks at a parked lane. The sorted set
-- `wakes` holds one time for each gate, when its best lane may be tried again, so ten thousand
-- lanes behind a closed service cost nothing until it opens, and then one lane is taken for each
-- task that it admits.
local WAKES = key('wakes')
local RECHECK = 1000000
local gate = {all = {}, woken = {}}

function gate.at(name)
  local self = gate.all[name]
  if not self then
    self = fair_queue.new('gate:' .. name)
    self.id = name
    self.scope, self.unit = string.match(name, '^(.*)|(%a+)$')
    self.scopes = {}
    gate.all[name] = self
  end
  return self
end

-- The gates of a scope, each with the scope's limits that count in its unit.
function gate.of(scope)
  if not scope.gates then
    scope.gates = {}
    for _, limit in ipairs(scope.limits) do
      local self = gate.at(scope.name .. '|' .. limit.rule.unit)
      if self.home ~= scope then
        self.home, self.limits = scope, {}
        self.scopes = {{limits = self.limits}}
        scope.gates[#scope.gates + 1] = self
      end
      self.limits[#self.limits + 1] = limit
      limit.gate = self
    end
  end
  return scope.gates
end

-- Nobody knows when a pause will end. It is looked for at times, though whoever lifts it wakes the gate.
function gate.wake_at(self, time)
  self.wake = time == math.huge and now + RECHECK or time
  gate.woken[self.id] = self
end

function gate.is_due(self)
  return self.wake and self.wake <= now
end

-- Leaves the gate shut while its best lane waits at a wider one, at least until that opens. The lane
-- comes by again when it is released or refused; the time is a safety net.
function gate.wake_after(self, opens_at)
  gate.wake_at(self, math.max(opens_at, now + RECHECK))
end

function gate.opens_at(self)
  return self.wake or tonumber(redis.call('ZSCORE', WAKES, self.id) or now)
end

-- Whether whatever this gate refuses, the other's work is refused by it too: then nobody parked at
-- the other needs a try before this gate opens.
function gate.covers(self, other)
  if self.unit ~= 'requests' and self.unit ~= other.unit then
    return false
  end
  if self.scope == other.scope then
    return true
  end
  local kind, name = string.match(other.scope, '^([%a_]+):(.*)$')
  if self.scope == 'global' then
    return kind ~= 'queue'
  end
  return kind == 'endpoint' and self.scope == 'service:' .. string.match(name, '^[^/]*')
end

function gate.park(self, lane, cost, allow_at)
  local kept, debt = turn.at(lane.name, self.id)
  local score = fair_queue.score(self, lane.priority, kept and debt or debt + cost[self.unit])
  fair_queue.enter(self, lane.name, kept and math.min(kept, score) or score)
  turn.settle(lane.name, self.id)
  if self.best == lane.name then
    gate.wake_at(self, allow_at)
  end
end

-- Parks a lane before all others of its priority, and keeps the gate shut for them until then.
function gate.park_first(self, lane, allow_at)
  local score = fair_queue.score(self, lane.priority, 0)
  local _, best_score = fair_queue.peek(self)
  fair_queue.enter(self, lane.name, math.min(score, best_score or score))
  gate.wake_at(self, allow_at)
end

function gate.save()
  for _, self in pairs(gate.woken) do
    if fair_queue.peek(self) then
      redis.call('ZADD', WAKES, whole(self.wake), self.id)
      alarm.set(self.wake)
    else
      redis.call('ZREM', WAKES, self.id)
    end
  end
  for _, self in pairs(gate.all) do
    fair_queue.save(self)
  end
  turn.save()
end
