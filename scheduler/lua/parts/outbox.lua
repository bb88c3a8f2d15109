-- include: lease.lua
--
-- Where the broker is not this server, a release cannot push its message. It stands among the `releasing`
-- instead, written in one step with the charge and the lease. Whoever publishes takes it from there for a
-- while, publishes it, and takes it out when the broker has confirmed; if he dies, the next one does. What
-- is published twice has the same fence both times, and only one of the two can be claimed.
--
-- The score of a release is its fence, and once somebody has taken it the time from which another may. A time
-- is far larger than any fence: so what nobody has taken comes first, in the order of the releases.
local outbox = {prefix = key('outbox:'), releasing = key('releasing')}

function outbox.is_for(queue)
  return string.sub(queue, 1, #outbox.prefix) == outbox.prefix
end

function outbox.entry(task, fence)
  return fence .. '\30' .. task
end

function outbox.ring()
  if not outbox.rang and redis.call('LLEN', key('outbox_bell')) == 0 then
    redis.call('RPUSH', key('outbox_bell'), '1')
  end
  outbox.rang = true
end

function outbox.add(task, fence)
  redis.call('ZADD', outbox.releasing, fence, outbox.entry(task, fence))
  outbox.ring()
end
