-- include: lane.lua
--
-- When a waiting task will be released, if nobody new comes and what goes first costs as much as the
-- task itself. `before` such tasks go first: those ahead in its lane; all of each lane at its gate that
-- has a higher priority; and of those with the same priority, which take turns with it, one for each task
-- ahead, and one more of each that stands before it, but no more than they have. Of the lanes behind the
-- first LANES_ASKED nobody asks how much they have. Each limit of the task must then have admitted
-- n = (before + 1) times its cost:
--
--   a bucket    at the time of the n-th unit at its refill rate,
--   a window    floor((n - 1) / capacity) periods after it admits the rest of the n units,
--   slots       at once if so many are free, and else nobody knows,
--   a regulator, or a full queue: at once if it admits now, and else nobody knows.
--
-- The last limit to do so decides.
local LANES_ASKED = 64
local forecast = {}

local function end_of_band(self)
  return (10 - self.priority) * 2 ^ 43
end

local function of_others(self, gate_key, position, rank)
  local names, count = redis.call('ZRANGE', gate_key, 0, LANES_ASKED - 1), 0
  for at, name in ipairs(names) do
    local size, priority = redis.call('LLEN', key('lane:' .. name)), tonumber(string.match(name, '^%d+'))
    if priority > self.priority then
      count = count + size
    elseif priority == self.priority and name ~= self.name then
      count = count + math.min(size, position + (at <= rank and 1 or 0))
    end
  end
  local in_turn = redis.call('ZCOUNT', gate_key, '-inf', '(' .. whole(end_of_band(self))) - #names
  return count + math.max(0, in_turn) * position + math.max(0, rank - #names)
end

-- How many lanes stand before it at a gate, or nothing if it is not there. A lane that does not exist yet would come
-- behind all of its priority.
local function rank_at(self, gate_key)
  local rank = redis.call('ZRANK', gate_key, self.name)
  if rank or lane.head(self) then
    return rank
  end
  local there = redis.call('ZCOUNT', gate_key, '-inf', '(' .. whole(end_of_band(self)))
  return there > 0 and there
end

local function tasks_before(self, position)
  for _, each in ipairs(lane.gates(self)) do
    local gate_key = key('gate:' .. each.id)
    local rank = rank_at(self, gate_key)
    if rank then
      return position + of_others(self, gate_key, position, rank)
    end
  end
  return position
end

local function admits_at(limit, units, priority)
  local cost = {priority = priority}
  local rule = ledger.met_by(limit.rule, cost)
  local kind, capacity = rule.kind, rule.capacity
  cost[rule.unit] = units
  if units == 0 or kind.is_shadow then
    return now
  elseif kind.is_bucket then
    return ledger.allow_at(limit, cost)
  elseif kind.one_each then
    cost[rule.unit] = 1
    local reserved = limit.rule.capacity - capacity
    local has_slots = kind.is_regulator or not kind.remaining or ledger.remaining(limit) - reserved >= units
    return has_slots and ledger.allow_at(limit, cost) <= now and now or math.huge
  end
  local periods = math.floor((units - 1) / capacity)
  cost[rule.unit] = units - periods * capacity
  return ledger.allow_at(limit, cost) + periods * rule.period
end

-- When all limits of these scopes will have admitted so many tasks of this cost, or math.huge if nobody knows.
function forecast.admission(scopes, count, cost)
  local latest = now
  for _, scope in ipairs(scopes) do
    for _, limit in ipairs(scope.limits) do
      latest = math.max(latest, admits_at(limit, cost[limit.rule.unit] * count, cost.priority))
    end
  end
  return latest
end

-- The time, or math.huge if nobody knows.
function forecast.start(self, position, cost)
  return forecast.admission(self.scopes, tasks_before(self, position) + 1, cost)
end
