-- include: ledger.lua
-- include: regulated.lua
--
-- The limits that a call brings along: the names of its scopes, and all its limits as one string, which
-- saves the server and Lua a dozen values. What else holds its scopes is known here alone.
local SCOPE = '[^\31]+'
local LOOK_AGAIN = 1000000

-- How long to wait for what allows it then. Nobody knows when a pause will end.
local function wait_until(allow_at)
  return allow_at == math.huge and LOOK_AGAIN or allow_at - now
end

local function limits_in(packed)
  local limits, at = {}, 1
  while at <= #packed do
    local scope, id, kind, unit, capacity, period, refill, next = struct.unpack(PACKED_LIMIT, packed, at)
    local limit = ledger.limit(scope, ledger.rule(id, kind, capacity, period, refill, unit))
    limits[#limits + 1] = limit
    limit.position, at = #limits, next
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
local function account(names, packed)
  local limits = limits_in(packed)
  return limits, {{limits = limits}, {limits = regulators_of(names, limits)}}
end
