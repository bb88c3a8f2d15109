-- include: clock.lua
-- include: keys.lua
-- include: plain.lua
-- include on demand: admission.lua
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
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
--
-- Returns {allowed, binding, remaining, retry_after_us, reset_after_us, now_us, scope, id}: 1, 0, or -1
-- if only those who wait are in the way, and take_turn.lua knows whether they are still there; the
-- position of the limit that binds, from 1 (0: none of them); units; microseconds, -1 for never; the
-- time of the charge, which settle.lua asks for; what binds, if it is no limit of the account.
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local deadline = now + tonumber(lease_us)
return plain(packed_limits, cost, holder, deadline, behind)
  or load_admission()(scope_names, packed_limits, cost, holder, deadline, behind)
