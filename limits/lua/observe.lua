-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
-- include: account.lua
--
-- Takes a service at its word, where it is stricter than the limits. It said what it has left until
-- a reset: where the scope's own limits would admit more now, no more than that is admitted until
-- then. It refused a call for its rate: the scope is closed. Nothing is ever loosened, so answers that
-- come late, twice or out of order do no harm.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV scope: whose limits the service spoke of
-- ARGV closed_us: for how long it is closed, in microseconds; 0 if no call was refused
-- ARGV reason: says why
-- ARGV statements: 'unit left resets_in_us' for each quota, one a line
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
--
-- Returns {now_us, {scope, field, value, ...}}: the scope's record. It expires at the last reset.
local limits = account(scope_names, packed_limits)
local record = regulator.of(scope)

-- The least that the scope's own limits have left in a unit. Slots are not counted by any service.
local function thinks(unit)
  local least = math.huge
  for _, limit in ipairs(limits) do
    local kind = limit.rule.kind
    if limit.rule.unit == unit and not kind.one_each and not kind.is_shadow then
      least = math.min(least, ledger.remaining(limit))
    end
  end
  return least
end

for unit, left, resets_in in string.gmatch(statements, '(%a+) (%d+) (%d+)') do
  if tonumber(left) < thinks(unit) then
    quotas[unit].set(record, tonumber(left), now + tonumber(resets_in))
  end
end
closure.set(record, now + tonumber(closed_us), reason)
regulator.save(record)
return {now, reply_of(record)}
