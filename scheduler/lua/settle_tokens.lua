-- include: clock.lua
-- include: keys.lua
-- include: charge.lua
-- include: estimates.lua
--
-- A running task knows what it has cost in tokens. What is left of its estimate goes back to where
-- it was counted, while it counts there, and to the next that waits for it; what is above is charged,
-- whether it fits or not, because it is spent. The cost is given as a whole and not as a difference,
-- so a report that comes twice changes nothing, and a later one corrects the one before. What is
-- settled is never given back, however the task ends.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV tokens: what it has cost so far, all in all
-- ARGV name: the task's name, under which the cost is learned; '' for none
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'settled'; 'uncounted' if no limit of the task counts tokens; 'stale' if it runs no more.
local BUDGET = 4
local self = lease.of(task)

if not self or self.fence ~= fence or not lease.is_claimed(self) then
  return 'stale'
end
if not lease.counts_tokens(self) then
  return 'uncounted'
end
local cost, before = tonumber(tokens), self.settled
if cost == before then
  return 'settled'
end

local gives_back = lease.settle(self, cost)
estimates.learn(name, cost, before)
if not gives_back then
  ledger.save()
  return 'settled'
end

-- include: advance.lua
definitions.use_current()
lane.touch_gates(lane.at(self.lane))
advance(BUDGET, tonumber(claim_within_us))
save()
return 'settled'
