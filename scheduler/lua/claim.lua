-- include: clock.lua
-- include: keys.lua
-- include: lease.lua
-- include: room.lua
--
-- A worker is about to run a task. Only the fence of the last release may, and only once: a
-- duplicate of the message, or a worker that was given up for dead, is told 'stale'. The same
-- claimant may ask again, because its first answer may have been lost on the way, or have come late: it
-- starts at this time, then.
-- The start leaves room in the broker's queue, so the next releases are made here too, as soon as
-- there is room for the queue's `refill`. That is no more than half of what any of its workers can take, so none
-- is without work meanwhile: if one were, all that is not started lay with the others, and room for it were free.
-- A start that no limit dates, and that leaves less room, needs only the lease and a count.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV fence: from the message
-- ARGV claimant: who asks; unique for each execution
-- ARGV lease_us: how long the lease lasts unless renewed
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'claimed' or 'stale'.
local BUDGET = 6
local self = lease.of(task)

if not self or self.fence ~= fence then
  return 'stale'
end
local is_repeated = lease.is_claimed(self)
if is_repeated and self.claimant ~= claimant then
  return 'stale'
end

local queue = string.match(self.lane, '^%d\31([^\31]*)')
local somebody_waits = redis.call('EXISTS', key('gate:queue:' .. queue .. '|requests')) == 1
if not is_repeated then
  self.claimant, self.started_at = claimant, now
  self.deadline = now + tonumber(lease_us)
  lease.save(self)
end
local is_counted = not is_repeated and not lease.dates_start(self)
if is_counted then
  local free = room.leave(queue)
  if not somebody_waits or free < room.refill(queue) then
    return 'claimed'
  end
end

-- include: charge.lua
if is_repeated then
  lease.restart(self)
  ledger.save()
  return 'claimed'
end
if not is_counted then
  lease.apply(self, 'start', lease.slot_until(self.deadline))
end
if not somebody_waits or depth.room(queue) < room.refill(queue) then
  ledger.save()
  return 'claimed'
end

-- include: advance.lua
definitions.use_current()
for _, each in ipairs(gate.of(depth.of(queue))) do
  lane.touch(each)
end
advance(BUDGET, tonumber(claim_within_us))
save()
return 'claimed'
