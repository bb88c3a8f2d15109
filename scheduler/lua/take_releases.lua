-- include: clock.lua
-- include: keys.lua
-- include: envelope.lua
-- include: outbox.lua
--
-- Gives out releases that are to be published, each to one publisher at a time: those that nobody has
-- taken, and those that were taken and not confirmed in time. What is claimed, ended or released again
-- needs nobody any more, and leaves.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV most: how many, at most
-- ARGV within_us: how long they are the publisher's own
--
-- Returns {now, next_us, asked, fence, task, queue, envelope, ...}: the time; how long until another may be
-- taken, 0 for at once, -1 for never; the queues of which the scheduler wants to know whether they are
-- empty now; and four values for each release.
local asked = redis.call('SMEMBERS', key('asked'))
if asked[1] then
  redis.call('DEL', key('asked'))
end

local taken = {whole(now), '-1', asked}
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', outbox.releasing, '-inf', whole(now), 'LIMIT', 0, tonumber(most))) do
  local fence, task = string.match(entry, '^(%d+)\30(.*)$')
  local held = lease.of(task)
  if held and held.fence == fence and not lease.is_claimed(held) then
    redis.call('ZADD', outbox.releasing, whole(now + tonumber(within_us)), entry)
    taken[#taken + 1] = fence
    taken[#taken + 1] = task
    taken[#taken + 1] = string.match(held.lane, '^%d\31([^\31]*)')
    taken[#taken + 1] = envelope(redis.call('HGET', key('message'), task), fence)
  else
    redis.call('ZREM', outbox.releasing, entry)
  end
end

local first = redis.call('ZRANGE', outbox.releasing, 0, 0, 'WITHSCORES')[2]
if first then
  taken[2] = whole(math.max(0, first - now))
end
return taken
