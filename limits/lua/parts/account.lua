-- include: ledger.lua
--
-- The limits that a call brings along: scope, id, kind, capacity, period, refill, unit of each.
local FIELDS = 7

local function account(rules)
  local limits = {}
  for i = 1, #rules, FIELDS do
    local scope, id, kind, capacity, period, refill, unit = unpack(rules, i, i + FIELDS - 1)
    local rule = ledger.rule(id, kind, tonumber(capacity), tonumber(period), tonumber(refill), unit)
    local limit = ledger.limit(scope, rule)
    limits[#limits + 1] = limit
    limit.position = #limits
  end
  return limits
end
