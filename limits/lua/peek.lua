-- include: clock.lua
-- include: keys.lua
-- include: account.lua
--
-- Looks at limits and charges none.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV requests: units that would be charged to limits that count requests
-- ARGV tokens: units that would be charged to limits that count tokens
-- ARGV rules...: scope, id, kind, capacity, period, refill, unit of each limit
--
-- Returns remaining, retry_after_us, reset_after_us for each limit, in one list: units; microseconds
-- until the units that would be charged fit; microseconds until the limit is unused.
local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}
local found = {}

for _, limit in ipairs(account(rules)) do
  found[#found + 1] = ledger.remaining(limit)
  found[#found + 1] = ledger.allow_at(limit, cost) - now
  found[#found + 1] = ledger.reset_at(limit) - now
end
return found
