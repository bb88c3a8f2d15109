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
local ledger = {states = {}, changed = {}}

function ledger.rule(id, kind, capacity, period, refill, unit)
  return {id = id, name = kind, kind = kinds[kind] or kind_of(kind), capacity = capacity, period = period, refill = refill, unit = unit}
end

function ledger.limit(scope, rule)
  return {scope = scope, rule = rule, key = limit_key(scope, rule.id)}
end

local function state_of(limit)
  local state = limit.state
  if not state then
    state = ledger.states[limit.key] or limit.rule.kind.load(limit.key, limit.rule)
    ledger.states[limit.key], limit.state = state, state
  end
  return state
end

-- What a cost comes to under one rule. Work that was accepted before its limit was lowered may cost
-- more than the limit holds now: then it takes all of it, in its turn.
local function units_of(rule, cost)
  local units = cost[rule.unit]
  return rule.kind.one_each and units or math.min(units, rule.capacity)
end

-- When every limit would admit its units, and the limit that is the last to do so.
function ledger.last_to_allow(scopes, cost)
  local latest, binding = now, nil
  for i = 1, #scopes do
    local limits = scopes[i].limits
    for j = 1, #limits do
      local limit = limits[j]
      local rule = limit.rule
      local units = units_of(rule, cost)
      if units > 0 then
        local allow_at = rule.kind.allow_at(rule, state_of(limit), units)
        if rule.again_at and allow_at > now then
          allow_at = math.min(allow_at, rule.again_at)
        end
        if allow_at > latest then
          latest, binding = allow_at, limit
        end
      end
    end
  end
  return latest, binding
end

-- The first limit that can never admit the cost, however long it waits.
function ledger.too_small(scopes, cost)
  for _, scope in ipairs(scopes) do
    for _, limit in ipairs(scope.limits) do
      local rule = limit.rule.stated or limit.rule
      if not rule.kind.one_each and not rule.kind.is_shadow and cost[rule.unit] > rule.capacity then
        return limit
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
      local kind, units = rule.kind, units_of(rule.stated or rule, cost)
      local act = kind[verb] or kind.later and kind.later(verb)
      if act and units > 0 then
        act(rule, state_of(limit), units, holder, deadline)
        ledger.changed[limit.key] = limit
      end
    end
  end
end

function ledger.allow_at(limit, cost)
  local units = cost[limit.rule.unit]
  return units > 0 and limit.rule.kind.allow_at(limit.rule, state_of(limit), units) or now
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
