-- include: clock.lua
-- include: keys.lua
-- include: account.lua
-- include: line.lua
--
-- Corrects what a call has charged in tokens, once it is known what the call has cost, and frees its
-- slots when it has ended. Tokens go back only to where they were counted, and only while they count
-- there: given back later, they would be spent twice in one window. Tokens above the estimate are
-- charged now, whether they fit or not, because they are spent. A correction has a name, and one
-- that comes again changes nothing: redis-py repeats a command whose reply was lost. Who waits for
-- what was freed is woken.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV correction: its name; '' if no token is corrected
-- ARGV charged_at_us: when the call was charged, as acquire.lua said
-- ARGV holder: whose slots are freed; '' for nobody's
-- ARGV tokens: units to charge; below 0, units to give back
-- ARGV opens: 'scope id' of the limits that open a bit by this, with \31 between them
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
--
-- Returns 'settled', or 'known' if the correction had been made. Remembers its name for a minute.
local REMEMBERED_FOR = 60000000
local limits = account(scope_names, packed_limits)
local scopes = {{limits = limits}}
local difference = tonumber(tokens)

local function is_new()
  return redis.call('SET', key('settled:' .. correction), '', 'NX', 'PX', ttl_until(now + REMEMBERED_FOR))
end

-- The ledger takes no more from a limit than it holds. But what is spent is spent.
for _, limit in ipairs(limits) do
  limit.rule.capacity = math.huge
end

local status = 'settled'
if correction ~= '' then
  if not is_new() then
    status = 'known'
  elseif difference < 0 then
    ledger.apply('refund', scopes, {requests = 0, tokens = -difference}, holder, tonumber(charged_at_us))
  else
    ledger.apply('charge', scopes, {requests = 0, tokens = difference}, holder)
  end
end
if holder ~= '' then
  ledger.apply('finish', scopes, {requests = 1, tokens = 0}, holder)
end
ledger.save()
if status == 'settled' then
  line.wake_awaiting(opens)
end
return status
