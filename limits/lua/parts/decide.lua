-- include: account.lua
--
-- Decides one call: every limit is charged, or none.

-- The limit with the smallest share of its capacity left.
local function scarcest(limits, cost)
  local least, found
  for i = 1, #limits do
    local limit = limits[i]
    if cost[limit.rule.unit] > 0 and not limit.rule.kind.is_shadow then
      local share = ledger.remaining(limit) / limit.rule.capacity
      if not least or share < least then
        least, found = share, limit
      end
    end
  end
  return found
end

-- 1 or 0; what binds, if anything applies: one of the limits, or what else holds a scope; microseconds
-- until the call can pass, -1 for never.
local function decide(limits, scopes, cost, holder, deadline)
  local impossible = ledger.too_small(scopes, cost)
  if impossible then
    return 0, impossible, -1
  end
  local allow_at, refusing = ledger.last_to_allow(scopes, cost)
  if refusing then
    return 0, refusing, wait_until(allow_at)
  end
  ledger.apply('charge', scopes, cost, holder, deadline)
  return 1, scarcest(limits, cost), 0
end
