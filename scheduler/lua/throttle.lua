-- include: clock.lua
-- include: keys.lua
-- include: regulator.lua
-- include: recovery.lua
--
-- The service refused a running task for its rate. Its scope is closed for everybody, and the task
-- goes back to the head of its lane, to be released again under a new fence. All in one step: between
-- the two nobody could be released who would be refused as well, and no crash can lose the task.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV for_us: how long the scope is closed, in microseconds
-- ARGV reason: says why
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'returned'; 'unscoped' if the task calls no service: nothing is changed; or 'stale'.
local BUDGET = 4
local self = lease.of(task)

if not self or self.fence ~= fence then
  return 'stale'
end
local scope = scopes.throttled(self.lane)
if not scope then
  return 'unscoped'
end
definitions.use_current()
report_outcome(self, 'throttled')
local record = regulator.of(scope)
closure.set(record, now + tonumber(for_us), reason)
regulator.save(record)
recovery.return_to_lane(self, 0)
advance(BUDGET, tonumber(claim_within_us))
save()
return 'returned'
