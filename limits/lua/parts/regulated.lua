-- include: ledger.lua
-- include on demand: regulator.lua
--
-- Adds what else holds a scope (it is paused, say) to the regulators, and scales those of the limits
-- that are its own, where a share of them may be used. Seldom does anything: then this costs
-- one look a call, and what a regulator knows is not even made.
local regulated = {}

function regulated.join(scope, limits, regulators)
  if regulated.any == nil then
    regulated.any = redis.call('EXISTS', key('regulators')) == 1
    regulated.by = regulated.any and load_regulator()
  end
  if regulated.any then
    regulated.by.scale(scope, limits)
    regulated.by.join(scope, regulators)
  end
end
