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
-- ARGV behind: the line that must be empty, so that nobody is overtaken; '' for none
-- ARGV rules...: scope, id, kind, capacity, period, refill, unit of each limit
--
-- Returns {allowed, binding, remaining, retry_after_us, reset_after_us, now_us}: 1, 0, or -1 if only those
-- who wait are in the way, and take_turn.lua knows whether they are still there; the position
-- of the limit that binds, from 1 (0: no limit applies); units; microseconds, -1 for never; the time
-- of the charge, which settle.lua asks for.
local PATIENCE = 50000
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local limits = account(rules)
local scopes = {{limits = limits}}

local function reply(allowed, limit, retry_after)
  local reset_after = ledger.reset_at(limit) - now
  return {allowed, limit.position, ledger.remaining(limit), retry_after, reset_after, now}
end

-- The limit with the smallest share of its capacity left.
local function scarcest()
  local least, found
  for _, limit in ipairs(limits) do
    if cost[limit.rule.unit] > 0 then
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
  return reply(0, refusing, allow_at - now)
end

if behind ~= '' and redis.call('EXISTS', key('line:' .. behind)) == 1 then
  return reply(-1, scarcest() or limits[1], PATIENCE)
end

ledger.apply('charge', scopes, cost, holder, now + tonumber(lease_us))
ledger.save()
local binding = scarcest()
if not binding then
  return {1, 0, 0, 0, 0, now}
end
return reply(1, binding, 0)
