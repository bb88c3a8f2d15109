-- include: clock.lua
-- include: keys.lua
-- include: account.lua
--
-- Charges every limit, or none. One call is one decision, so no other client can come between
-- reading a limit and charging it, and a refusal at one level leaves the other levels untouched.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV holder: who takes the slots in flight
-- ARGV lease_us: microseconds that a slot lasts
-- ARGV requests: units for limits that count requests
-- ARGV tokens: units for limits that count tokens
-- ARGV rules...: the account, as parts/account.lua reads it
--
-- Returns {allowed, binding, remaining, retry_after_us, reset_after_us, now_us, scope, id}: 1 or 0; the
-- position of the limit that binds, from 1 (0: none of them); units; microseconds, -1 for never; the
-- time of the charge, which settle.lua asks for; what binds, if it is no limit of the account.
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local limits, scopes = account(rules)

local function reply(allowed, limit, retry_after)
  if not limit.position then
    return {allowed, 0, 0, retry_after, retry_after, now, limit.scope, limit.rule.id}
  end
  local reset_after = ledger.reset_at(limit) - now
  return {allowed, limit.position, ledger.remaining(limit), retry_after, reset_after, now}
end

-- The limit with the smallest share of its capacity left.
local function scarcest()
  local least, found
  for _, limit in ipairs(limits) do
    if cost[limit.rule.unit] > 0 and not limit.rule.kind.is_shadow then
      local share = ledger.remaining(limit) / limit.rule.capacity
      if not least or share < least then
        least, found = share, limit
      end
    end
  end
  return found
end

local impossible = ledger.too_small(scopes, cost)
if impossible then
  return reply(0, impossible, -1)
end

local allow_at, refusing = ledger.last_to_allow(scopes, cost)
if refusing then
  return reply(0, refusing, wait_until(allow_at))
end

ledger.apply('charge', scopes, cost, holder, now + tonumber(lease_us))
ledger.save()
local binding = scarcest()
if not binding then
  return {1, 0, 0, 0, 0, now}
end
return reply(1, binding, 0)
