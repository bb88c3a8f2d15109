-- include: clock.lua
-- include: keys.lua
-- include: retry_budget.lua
--
-- Takes one retry out of a service's budget, if there is one left. Atomic, so however many workers ask
-- at the same time, no more are granted than the budget has. A caller that never saw the reply and asks
-- again takes two: the budget errs towards fewer retries.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV service: its name
--
-- Returns {'granted' or 'spent', granted in this window, allowed in this window}, or {'unbounded'} for a
-- service that has no budget.
definitions.use_current()
local granted, retries, allowed = retry_budget.try(service)
if granted == nil then
  return {'unbounded'}
end
return {granted and 'granted' or 'spent', retries, allowed}
