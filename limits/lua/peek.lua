-- include: clock.lua
-- include: keys.lua
-- include: shadow.lua
-- include: account.lua
--
-- Looks at limits and charges none.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV requests: units that would be charged to limits that count requests
-- ARGV tokens: units that would be charged to limits that count tokens
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
--
-- Returns remaining, retry_after_us, reset_after_us, used, shadowed for each limit, in one list: units;
-- microseconds until the units that would be charged fit; microseconds until the limit is unused; units;
-- how often it would have refused if it were not a shadow. Then scope, id, retry_after_us of what else
-- would refuse them.
local FAR_ABOVE = 2 ^ 40
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local limits, scopes = account(scope_names, packed_limits)
local found = {}

-- What is used, also above the capacity: what was spent above an estimate, or before the limit was lowered.
local function used(limit, remaining)
  local capacity = limit.rule.capacity
  if remaining > 0 then
    return capacity - remaining
  end
  limit.rule.capacity = capacity + FAR_ABOVE
  local total = limit.rule.capacity - ledger.remaining(limit)
  limit.rule.capacity = capacity
  return total
end

for _, limit in ipairs(limits) do
  local remaining = ledger.remaining(limit)
  found[#found + 1] = remaining
  found[#found + 1] = ledger.allow_at(limit, cost) - now
  found[#found + 1] = ledger.reset_at(limit) - now
  found[#found + 1] = used(limit, remaining)
  found[#found + 1] = shadow.times(limit)
end
for _, limit in ipairs(scopes[2].limits) do
  local retry_after = wait_until(ledger.allow_at(limit, cost))
  if retry_after > 0 then
    found[#found + 1] = limit.scope
    found[#found + 1] = limit.rule.id
    found[#found + 1] = retry_after
  end
end
return found
