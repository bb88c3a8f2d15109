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

-- Whether others wait for what the call would take. When they take it is not known.
local PATIENCE = 50000
local function is_before_its_turn(behind)
  return behind ~= nil and behind ~= '' and redis.call('EXISTS', key('line:' .. behind)) == 1
end

-- 1, 0, or -1 if only those who wait are in the way; what binds, if anything applies: one of the limits, or what else holds a scope; microseconds
-- until the call can pass, -1 for never.
local function decide(limits, scopes, cost, holder, deadline, behind)
  local impossible = ledger.too_small(scopes, cost)
  if impossible then
    return 0, impossible, -1
  end
  local allow_at, refusing = ledger.last_to_allow(scopes, cost)
  if refusing then
    return 0, refusing, wait_until(allow_at)
  end
  local taken = is_before_its_turn(behind) and scarcest(limits, cost)
  if taken then
    return -1, taken, PATIENCE
  end
  ledger.apply('charge', scopes, cost, holder, deadline)
  return 1, scarcest(limits, cost), 0
end
