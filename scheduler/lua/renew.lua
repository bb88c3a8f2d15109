-- include: clock.lua
-- include: keys.lua
-- include: charge.lua
--
-- A worker still has these tasks. Each lease, and each slot in flight under it, lasts until the new
-- deadline. A task that was claimed meanwhile, or not yet, is renewed alike: its worker lives.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV lease_us: how long they last from now
-- ARGV held...: task, fence of each
--
-- Returns the number renewed; the others were stale.
local deadline = now + tonumber(lease_us)
local renewed = 0

for i = 1, #held, 2 do
  local self = lease.of(held[i])
  if self and self.fence == held[i + 1] then
    if lease.has_slots(self) then
      lease.apply(self, 'renew', lease.slot_until(deadline))
    end
    redis.call('ZADD', LEASES, whole(deadline), self.task)
    renewed = renewed + 1
  end
end
return renewed
