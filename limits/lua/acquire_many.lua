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
-- ARGV limits: all of them, as parts/account.lua reads them
-- ARGV accounts: how many accounts the values begin with
-- ARGV values...: of each account, the names of its scopes, how many limits it has, and which, counted from 1; then
--   account, holder, requests, tokens of each call
--
-- Returns the time of the charges in microseconds; then of each call, as acquire.lua does, allowed,
-- binding, remaining, retry_after_us, reset_after_us, and what binds, if it is no limit of the account:
-- scope and id, with \31 between, else ''. A position counts in the call's own account.
local FIELDS_OF_CALL = 4
local deadline = now + tonumber(lease_us)
local position = 0
local all = limits_in(limits)
local known, replies = {}, {now}

local function next_account()
  local found, count = {}, tonumber(values[position + 2])
  for i = 1, count do
    found[i] = all[tonumber(values[position + 2 + i])]
  end
  local scopes = {{limits = found}, {limits = regulators_of(values[position + 1], found)}}
  position = position + 2 + count
  return {limits = found, scopes = scopes}
end

local function position_of(limit, among)
  for i = 1, #among do
    if among[i] == limit then
      return i
    end
  end
end

local function add(...)
  local at = #replies
  for i = 1, select('#', ...) do
    replies[at + i] = select(i, ...)
  end
end

local function reply(allowed, binding, retry_after, among)
  if not binding then
    add(allowed, 0, 0, 0, 0, '')
  elseif not binding.position then
    add(allowed, 0, 0, retry_after, retry_after, binding.scope .. '\31' .. binding.rule.id)
  else
    local reset_after = ledger.reset_at(binding) - now
    add(allowed, position_of(binding, among), ledger.remaining(binding), retry_after, reset_after, '')
  end
end

for i = 1, tonumber(accounts) do
  known[i] = next_account()
end

local cost = {}
for at = position + 1, #values, FIELDS_OF_CALL do
  local charged = known[tonumber(values[at])]
  cost.requests, cost.tokens = tonumber(values[at + 2]), tonumber(values[at + 3])
  local allowed, binding, retry_after = decide(charged.limits, charged.scopes, cost, values[at + 1], deadline)
  reply(allowed, binding, retry_after, charged.limits)
end
ledger.save()
return replies
