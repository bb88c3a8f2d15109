-- include: fair_queue.lua
-- include: alarm.lua
-- include: turn.lua
-- include: history.lua
--
-- A gate is where lanes park that a limit refused: one for each scope and unit, because the limits
-- of one scope in one unit refuse the same work. Nobody looks at a parked lane. The sorted set
-- `wakes` holds one time for each gate where somebody waits, when its best lane may be tried again,
-- so ten thousand lanes behind a closed service cost nothing until it opens, and then one lane is
-- taken for each task that it admits.
local WAKES = key('wakes')
local RECHECK = 1000000
-- Where no more gates than this have anybody waiting, one look at `wakes` tells which they are.
local FEW = 16
local NO_SCOPES = {}
local gate = {all = {}, woken = {}}

local function nobody_waits(id)
  if gate.occupied == nil then
    local ids = redis.call('ZRANGE', WAKES, 0, FEW - 1)
    gate.occupied = #ids < FEW and {}
    for i = 1, gate.occupied and #ids or 0 do
      gate.occupied[ids[i]] = true
    end
  end
  return gate.occupied and not gate.occupied[id]
end

local function new(id, scope, unit)
  local self = fair_queue.new('gate:' .. id)
  self.id, self.scope, self.unit, self.scopes = id, scope, unit, NO_SCOPES
  self.is_of_queue = string.sub(scope, 1, 6) == 'queue:'
  self.service = string.sub(scope, 1, 9) == 'endpoint:' and 'service:' .. string.match(scope, '^endpoint:([^/]*)')
  if nobody_waits(id) then
    fair_queue.assume_empty(self)
  end
  gate.all[id] = self
  return self
end

function gate.at(id)
  return gate.all[id] or new(id, string.match(id, '^(.*)|(%a+)$'))
end

-- The gate of a scope for one unit, with those of the scope's limits that count in it.
local function of_unit(scope, unit, limits)
  local id = scope.name .. '|' .. unit
  local self = gate.all[id] or new(id, scope.name, unit)
  self.scopes = {#limits == #scope.limits and scope or {limits = limits}}
  for i = 1, #limits do
    limits[i].gate = self
  end
  return self
end

local function of_each_unit(scope)
  local units, limits_in, gates = {}, {}, {}
  for _, limit in ipairs(scope.limits) do
    local unit = limit.rule.unit
    if not limits_in[unit] then
      units[#units + 1], limits_in[unit] = unit, {}
    end
    table.insert(limits_in[unit], limit)
  end
  for i, unit in ipairs(units) do
    gates[i] = of_unit(scope, unit, limits_in[unit])
  end
  return gates
end

local function of_all(scopes)
  local gates = {}
  for i = 1, #scopes do
    for _, each in ipairs(gate.of(scopes[i])) do
      gates[#gates + 1] = each
    end
  end
  return gates
end

-- The gates of a scope, or of those that are one to the ledger.
function gate.of(scope)
  if not scope.gates then
    local limits = scope.limits
    if scope.scopes then
      scope.gates = of_all(scope.scopes)
    elseif #limits == 1 then
      scope.gates = {of_unit(scope, limits[1].rule.unit, limits)}
    else
      scope.gates = of_each_unit(scope)
    end
  end
  return scope.gates
end

-- Whether anybody waits at a gate of the scope, as far as one look tells.
function gate.is_busy(scope)
  for i = 1, #scope.limits do
    if scope.gates or not nobody_waits(scope.name .. '|' .. scope.limits[i].rule.unit) then
      return true
    end
  end
  return false
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
  if self.scope == 'global' then
    return not other.is_of_queue
  end
  return self.scope == other.service
end

function gate.park(self, lane, cost, allow_at)
  local kept, debt = turn.at(lane.name, self.id)
  local score = fair_queue.score(self, lane.priority, kept and debt or debt + cost[self.unit] * lane.stretch)
  fair_queue.enter(self, lane.name, kept and math.min(kept, score) or score)
  turn.settle(lane.name, self.id)
  if lane.let_go_by ~= self.id then
    history.note(lane.name, self.id)
  end
  if gate.first(self) == lane.name then
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
  local waking, empty = {}, {}
  for _, self in pairs(gate.woken) do
    if fair_queue.peek(self) then
      waking[#waking + 1] = whole(self.wake)
      waking[#waking + 1] = self.id
      alarm.set(self.wake)
    elseif not gate.occupied or gate.occupied[self.id] then
      empty[#empty + 1] = self.id
    end
  end
  if waking[1] then
    redis.call('ZADD', WAKES, unpack(waking))
  end
  if empty[1] then
    redis.call('ZREM', WAKES, unpack(empty))
  end
  for _, self in pairs(gate.all) do
    fair_queue.save(self)
  end
  turn.save()
end
