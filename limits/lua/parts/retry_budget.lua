-- include: tally.lua
-- include: definitions.lua
--
-- The retry budget of a service, as `RetryBudget` in limits/retry_budget.py decides. What counts is in
-- `retries:<service>`: first attempts that ended, and retries that were granted.
local FIRST, RETRY = 1, 2
local retry_budget = {}

local function budget_of(service)
  local json = redis.call('HGET', definitions.key, 'governors:' .. service)
  return json and cjson.decode(json).retry_budget
end

function retry_budget.count_first(service)
  local settings = budget_of(service)
  if settings then
    tally.count(key('retries:' .. service), settings[2], FIRST)
  end
end

-- Whether a retry is granted, and how many were and may be in this window; nil for a service without a budget.
function retry_budget.try(service)
  local settings = budget_of(service)
  if not settings then
    return nil
  end
  local ratio, window, minimum = unpack(settings)
  local counted = key('retries:' .. service)
  local _, sums = tally.read(counted, window)
  local allowed = math.max(minimum, math.floor(ratio * sums[FIRST]))
  local granted = sums[RETRY] < allowed
  if granted then
    sums = tally.count(counted, window, RETRY)
  end
  return granted, sums[RETRY], allowed
end
