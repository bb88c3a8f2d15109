-- include: clock.lua
-- include: keys.lua
-- include: recovery.lua
--
-- A worker gives a released task back, unfinished: it goes to the head of its lane, to be released
-- again under a new fence.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'returned' or 'stale'.
local BUDGET = 4
local self = lease.of(task)

if not self or self.fence ~= fence then
  return 'stale'
end
definitions.use_current()
recovery.put_back(self, 'open')
advance(BUDGET, tonumber(claim_within_us))
save()
return 'returned'
