-- include: ledger.lua
-- include on demand: regulator.lua
--
-- Adds what else holds a scope (it is paused, say) to its limits. Seldom does anything: then this costs
-- one look a call, and what a regulator knows is not even made.
local regulated = {}

function regulated.join(scope, limits)
  if regulated.any == nil then
    regulated.any = redis.call('EXISTS', key('regulators')) == 1
    regulated.by = regulated.any and load_regulator()
  end
  if regulated.any then
    regulated.by.join(scope, limits)
  end
end
