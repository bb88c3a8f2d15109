-- include: ledger.lua
-- include: regulated.lua
--
-- The limits that a call brings along: the names of its scopes, then scope, id, kind, capacity,
-- period, refill, unit of each limit. What else holds its scopes is known here alone.
local FIELDS = 7
local SCOPE = '[^\31]+'
local LOOK_AGAIN = 1000000

-- How long to wait for what allows it then. Nobody knows when a pause will end.
local function wait_until(allow_at)
  return allow_at == math.huge and LOOK_AGAIN or allow_at - now
end

local function limits_in(rules, first, last)
  local limits = {}
  for i = first, last, FIELDS do
    local scope, id, kind, capacity, period, refill, unit = unpack(rules, i, i + FIELDS - 1)
    local rule = ledger.rule(id, kind, tonumber(capacity), tonumber(period), tonumber(refill), unit)
    local limit = ledger.limit(scope, rule)
    limits[#limits + 1] = limit
    limit.position = #limits
  end
  return limits
end

-- What holds these scopes back besides the limits; scales those of the limits of which a share may be used.
local function regulators_of(scopes, limits)
  local regulators = {}
  for scope in string.gmatch(scopes, SCOPE) do
    regulated.join(scope, limits, regulators)
  end
  return regulators
end

-- The limits as they were brought, and the scopes to charge: these limits and the call's regulators.
local function account(rules)
  local limits = limits_in(rules, 2, #rules)
  return limits, {{limits = limits}, {limits = regulators_of(rules[1], limits)}}
end
