-- include: clock.lua
-- include: keys.lua
-- include: account.lua
-- include: decide.lua
--
-- Decides many calls, in their order: each charges every limit of its account, or none, as if it had
-- come alone after those before it. A limit is read and written once, however many calls share it.
-- Nobody comes between two of them, so whoever sends many bounds their number.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV lease_us: microseconds that a slot lasts
-- ARGV limits: how many limits the list begins with
-- ARGV accounts: how many accounts follow them
-- ARGV list...: scope, id, kind, capacity, period, refill, unit of each limit; then, of each account, how
--   many limits it has, and which, counted from 1; then account, holder, requests, tokens of each call
--
-- Returns the time of the charges in microseconds; then of each call, as acquire.lua does, allowed,
-- binding, remaining, retry_after_us, reset_after_us. A position counts in the call's own account.
local FIELDS_OF_LIMIT, FIELDS_OF_CALL = 7, 4
local deadline = now + tonumber(lease_us)
local position = tonumber(limits) * FIELDS_OF_LIMIT
local all = account({unpack(list, 1, position)})
local known, replies = {}, {now}

local function next_account()
  local found, count = {}, tonumber(list[position + 1])
  for i = 1, count do
    found[i] = all[tonumber(list[position + 1 + i])]
  end
  position = position + 1 + count
  return found
end

local function position_of(limit, among)
  for i = 1, #among do
    if among[i] == limit then
      return i
    end
  end
end

local function add(allowed, binding, remaining, retry_after, reset_after)
  local at = #replies
  replies[at + 1], replies[at + 2], replies[at + 3] = allowed, binding, remaining
  replies[at + 4], replies[at + 5] = retry_after, reset_after
end

for i = 1, tonumber(accounts) do
  known[i] = next_account()
end

local cost = {}
for at = position + 1, #list, FIELDS_OF_CALL do
  local charged = known[tonumber(list[at])]
  cost.requests, cost.tokens = tonumber(list[at + 2]), tonumber(list[at + 3])
  local allowed, binding, retry_after = decide(charged, cost, list[at + 1], deadline)
  if binding then
    local reset_after = ledger.reset_at(binding) - now
    add(allowed, position_of(binding, charged), ledger.remaining(binding), retry_after, reset_after)
  else
    add(allowed, 0, 0, 0, 0)
  end
end
ledger.save()
return replies
