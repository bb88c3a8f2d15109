-- include: clock.lua
-- include: keys.lua
-- include: lease.lua
-- include: memory.lua
-- include: run_time.lua
--
-- A task has ended, well or not, or will never start (revoked). Its slots are free, and what it
-- held and never used is given back; so are the tokens that it had not settled, unless it ended well.
-- A second report, or one with an old fence, changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV outcome: how the service did: 'ok', 'throttled', 'failed', or 'open' if its end says nothing
-- ARGV counted: 1 if its service counts outcomes or attempts, else 0
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'finished' or 'stale'.
local BUDGET = 4
local self = lease.of(task)

if not self or self.fence ~= fence then
  return 'stale'
end

memory.forget(task, self.lane, whole(self.requests), whole(self.tokens))
if lease.is_claimed(self) then
  note_run_time(self)
end
local failed = outcome ~= 'ok'
local gives_back = lease.has_slots(self) or failed and lease.has_unsettled_tokens(self)
local concerns_nobody = lease.is_claimed(self) and counted == '0' and not gives_back
if concerns_nobody and not lease.ran_on(self) then
  lease.remove(self)
  return 'finished'
end

-- include: charge.lua
lease.close(self, failed)
if concerns_nobody then
  ledger.save()
  return 'finished'
end
-- include: outcome.lua
-- include: advance.lua
definitions.use_current()
if counted == '1' then
  report_outcome(self, outcome)
  if lease.is_claimed(self) then
    count_first_attempt(self)
  end
end
lane.touch_gates(lane.at(self.lane))
advance(BUDGET, tonumber(claim_within_us))
save()
return 'finished'
