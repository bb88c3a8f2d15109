-- include: clock.lua
-- include: keys.lua
-- include: account.lua
-- include: decide.lua
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
-- ARGV rules...: scope, id, kind, capacity, period, refill, unit of each limit
--
-- Returns {allowed, binding, remaining, retry_after_us, reset_after_us, now_us}: 1 or 0; the position
-- of the limit that binds, from 1 (0: no limit applies); units; microseconds, -1 for never; the time
-- of the charge, which settle.lua asks for.
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local allowed, binding, retry_after = decide(account(rules), cost, holder, now + tonumber(lease_us))

ledger.save()
if not binding then
  return {allowed, 0, 0, 0, 0, now}
end
return {allowed, binding.position, ledger.remaining(binding), retry_after, ledger.reset_at(binding) - now, now}
