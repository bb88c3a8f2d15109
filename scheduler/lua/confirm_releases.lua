-- include: clock.lua
-- include: keys.lua
-- include: outbox.lua
--
-- The broker has confirmed these releases. They are published no more, and each that no worker has claimed
-- yet may stay so for as long as any other: its time begins now.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV claim_within_us: how long they may stay unclaimed from now
-- ARGV published...: fence, task of each
--
-- Returns how many were still to be confirmed.
local confirmed = 0
for i = 1, #published, 2 do
  local fence, task = published[i], published[i + 1]
  confirmed = confirmed + redis.call('ZREM', outbox.releasing, outbox.entry(task, fence))
  local held = lease.of(task)
  if held and held.fence == fence and not lease.is_claimed(held) then
    redis.call('ZADD', LEASES, whole(now + tonumber(claim_within_us)), task)
  end
end
return confirmed
