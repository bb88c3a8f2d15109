-- include: clock.lua
-- include: keys.lua
-- include: lease.lua
-- include: memory.lua
--
-- A task has ended, well or not, or will never start (revoked). Its slots are free, and what it
-- held and never used is given back. A second report, or one with an old fence, changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV outcome: how the service did: 'ok', 'throttled', 'failed', 'open' if its end says nothing; '' if nobody counts
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'finished' or 'stale'.
local BUDGET = 4
local self = lease.of(task)

if not self or self.fence ~= fence then
  return 'stale'
end

memory.forget(task, self.lane, whole(self.requests), whole(self.tokens))
if lease.is_claimed(self) and not lease.has_slots(self) and outcome == '' then
  lease.remove(self)
  return 'finished'
end

-- include: charge.lua
lease.close(self)
-- include: outcome.lua
-- include: advance.lua
definitions.use_current()
if outcome ~= '' then
  report_outcome(self, outcome)
end
lane.touch_gates(lane.at(self.lane))
advance(BUDGET, tonumber(claim_within_us))
save()
return 'finished'
