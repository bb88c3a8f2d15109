-- include: kinds.lua
--
-- The limits that one call touches. Each is loaded once, changed in memory and written back by
-- `ledger.save`, so a call that admits a hundred tasks reads and writes a shared limit once.
--
-- A rule is what a limit says; its kind is a table of verbs. Work that runs at once is `charge`d.
-- Work that goes to a queue is put on `hold`, and then it `start`s and `finish`es, or never runs:
-- `unhold`. Once it has started, what it does not need is taken back: `take_back`. A kind leaves out
-- the verbs that do not concern it. A scope is {name, limits}, and a limit is a rule on a scope. A kind
-- whose name begins with `shadow` never refuses.
--
-- A rule may have a reserve: work below the priority `reserved_for` is admitted by `rule.below`, the same
-- rule with a capacity that leaves the reserved units out. What it is charged is the same.
local CODE = '^' .. string.rep('([^\29]*)\29', 5) .. '(.*)$'
local ledger = {states = {}, changed = {}}

local function with_reserve(rule, reserved, reserved_for)
  local below = {}
  for field, value in pairs(rule) do
    below[field] = value
  end
  below.capacity, below.stated, below.is_below = math.max(1, rule.capacity - reserved), rule.stated or rule, true
  rule.below, rule.reserved, rule.reserved_for = below, reserved, reserved_for
  return rule
end

function ledger.rule(id, kind, capacity, period, refill, unit, reserved, reserved_for)
  local rule = {id = id, name = kind, kind = kinds[kind] or kind_of(kind), capacity = capacity, period = period, refill = refill, unit = unit}
  return reserved and with_reserve(rule, reserved, reserved_for) or rule
end

-- The rule as work of this cost, which may have a priority, meets it.
function ledger.met_by(rule, cost)
  return rule.below and (cost.priority or rule.reserved_for) < rule.reserved_for and rule.below or rule
end

-- The rule with a share of its capacity and of its refill. Work is admitted by these, and charged and
-- settled by what is `stated`, so that the share may change while the work runs. `again_at` is when
-- more may be admitted although nobody has ended, or nil.
function ledger.scaled(rule, share, again_at)
  local capacity = math.max(1, math.min(rule.capacity, math.floor(rule.capacity * share)))
  local scaled = {
    id = rule.id, name = rule.name, kind = rule.kind, unit = rule.unit, period = rule.period,
    capacity = capacity, refill = rule.refill * share, stated = rule, again_at = again_at,
  }
  return rule.below and with_reserve(scaled, math.ceil(rule.reserved * share), rule.reserved_for) or scaled
end

function ledger.limit(scope, rule)
  return {scope = scope, rule = rule, key = limit_key(scope, rule.id)}
end

-- A limit as text, to be kept with the work that was charged: it is settled under the same rule,
-- also when the definitions have changed meanwhile.
function ledger.encode(limit)
  local rule = limit.rule.stated or limit.rule
  if not rule.code then
    local numbers = whole(rule.capacity) .. '\29' .. whole(rule.period) .. '\29' .. whole(rule.refill)
    rule.code = rule.name .. '\29' .. numbers .. '\29' .. rule.unit .. '\29'
  end
  return rule.code .. limit.key
end

function ledger.decode(code)
  local kind, capacity, period, refill, unit, limit_key = string.match(code, CODE)
  return {key = limit_key, rule = ledger.rule('', kind, tonumber(capacity), tonumber(period), tonumber(refill), unit)}
end

local function state_of(limit)
  local state = limit.state
  if not state then
    state = ledger.states[limit.key] or limit.rule.kind.load(limit.key, limit.rule)
    ledger.states[limit.key], limit.state = state, state
  end
  return state
end

-- When every limit would admit its units, and the limit that is the last to do so. Work that was accepted
-- before its limit was lowered may cost more than the limit holds now: then it takes all of it, in its turn.
-- This and `ledger.apply` are run for each limit of each task, so they call nothing that they need not.
function ledger.last_to_allow(scopes, cost)
  local latest, binding = now, nil
  for i = 1, #scopes do
    local limits = scopes[i].limits
    for j = 1, #limits do
      local limit = limits[j]
      local rule = limit.rule
      rule = rule.below and ledger.met_by(rule, cost) or rule
      local units, capacity = cost[rule.unit], rule.capacity
      if units > 0 then
        local allow_at = rule.kind.allow_at(rule, limit.state or state_of(limit), units < capacity and units or capacity)
        if allow_at > latest then
          allow_at = rule.again_at and math.min(allow_at, rule.again_at) or allow_at
          if allow_at > latest then
            latest, binding = allow_at, limit
          end
        end
      end
    end
  end
  return latest, binding
end

-- The first limit that can never admit the cost, however long it waits, and what it holds for such work.
function ledger.too_small(scopes, cost)
  for _, scope in ipairs(scopes) do
    for _, limit in ipairs(scope.limits) do
      local rule = ledger.met_by(limit.rule.stated or limit.rule, cost)
      if not rule.kind.one_each and not rule.kind.is_shadow and cost[rule.unit] > rule.capacity then
        return limit, rule.capacity
      end
    end
  end
end

function ledger.apply(verb, scopes, cost, holder, deadline)
  for i = 1, #scopes do
    local limits = scopes[i].limits
    for j = 1, #limits do
      local limit = limits[j]
      local rule = limit.rule
      rule = rule.below and ledger.met_by(rule, cost) or rule
      local units, kind = cost[rule.unit], rule.kind
      local act = kind[verb] or kind.later and kind.later(verb)
      if act and units > 0 then
        local capacity = (rule.stated or rule).capacity
        act(rule, limit.state or state_of(limit), units < capacity and units or capacity, holder, deadline)
        ledger.changed[limit.key] = limit
      end
    end
  end
end

function ledger.allow_at(limit, cost)
  local rule, units = ledger.met_by(limit.rule, cost), cost[limit.rule.unit]
  return units > 0 and rule.kind.allow_at(rule, state_of(limit), units) or now
end

-- Whether the limit refuses the cost for its priority alone: what is left is reserved.
function ledger.is_reserved(limit, cost)
  return limit.rule.below ~= nil and ledger.met_by(limit.rule, cost).is_below == true
    and limit.rule.kind.allow_at(limit.rule, state_of(limit), math.min(cost[limit.rule.unit], limit.rule.capacity)) <= now
end

function ledger.remaining(limit)
  return limit.rule.kind.remaining(limit.rule, state_of(limit))
end

function ledger.reset_at(limit)
  return limit.rule.kind.reset_at(limit.rule, state_of(limit))
end

function ledger.save()
  for limit_key, limit in pairs(ledger.changed) do
    local save = limit.rule.kind.save
    if save then
      save(limit.rule, state_of(limit), limit_key)
    end
  end
end
