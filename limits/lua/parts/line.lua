-- include: clock.lua
-- include: keys.lua
--
-- A line is the FIFO of those who wait for the limits of the same scopes: a sorted set of waiters by
-- ticket. The head alone is awake. It has the turn: it sleeps until its limits may open, and tries.
--
--     joins ──▶ behind ──▶ has the turn ──▶ admitted, or gave up
--                  │             │
--                  └─────────────┴──▶ gone: nobody listens on its channel, or its turn has lapsed
--
-- Whoever waits listens on a channel of its own, so the server knows who is gone: a process that was
-- killed has lost its connection. One that is frozen keeps it and misses its turn, which lapses. One
-- that was taken for gone and comes back brings its ticket, and stands where it stood.
local GRACE = 2000000
local KEPT = 60000000
-- A crowd that died together is skipped over several calls: one call must not hold up the server.
local MOST_SKIPPED = 200
local line = {}

local function channel(waiter)
  return key('wake:' .. waiter)
end

function line.at(name)
  return {name = name, key = key('line:' .. name), turn = key('turn:' .. name)}
end

function line.join(queue, waiter, ticket)
  if ticket == '' then
    -- The call may be one that was sent again, because its reply was lost.
    local place = redis.call('ZSCORE', queue.key, waiter)
    if place then
      return place
    end
    local last = redis.call('ZRANGE', queue.key, -1, -1, 'WITHSCORES')
    ticket = whole(tonumber(last[2] or 0) + 1)
  end
  redis.call('ZADD', queue.key, ticket, waiter)
  return ticket
end

-- The turn is `waiter`'s until GRACE after `time`.
function line.give_turn(queue, waiter, time)
  redis.call('HSET', queue.turn, 'waiter', waiter, 'lapses_at', whole(time + GRACE))
end

local function is_awake(queue, waiter)
  local whose, lapses_at = unpack(redis.call('HMGET', queue.turn, 'waiter', 'lapses_at'))
  if whose ~= waiter then
    return nil
  end
  return tonumber(lapses_at) > now and redis.call('PUBSUB', 'NUMSUB', channel(waiter))[2] > 0
end

-- Wakes the head, if it does not know yet that the turn is its own.
local function wake(queue, waiter)
  if redis.call('PUBLISH', channel(waiter), 'turn') == 0 then
    return false
  end
  line.give_turn(queue, waiter, now)
  return true
end

-- The head that is there, with the turn; nil for an empty line. `caller` is there: it calls.
function line.head(queue, caller)
  for _ = 1, MOST_SKIPPED do
    local head = redis.call('ZRANGE', queue.key, 0, 0)[1]
    if not head or head == caller then
      return head
    end
    local awake = is_awake(queue, head)
    if awake == nil then
      awake = wake(queue, head)
    end
    if awake then
      return head
    end
    redis.call('ZREM', queue.key, head)
  end
  return redis.call('ZRANGE', queue.key, 0, 0)[1]
end

-- Gives up a place; whoever is first then has the turn.
function line.leave(queue, waiter)
  redis.call('ZREM', queue.key, waiter)
  if not line.head(queue) then
    redis.call('DEL', queue.turn)
  end
end

-- A line expires a while after its head has to have looked; whoever stands in it comes by sooner.
function line.keep(queue)
  local lapses_at = tonumber(redis.call('HGET', queue.turn, 'lapses_at') or now)
  local ttl = ttl_until(math.max(now, lapses_at) + KEPT)
  redis.call('PEXPIRE', queue.key, ttl)
  redis.call('PEXPIRE', queue.turn, ttl)
end

-- The head waits for `limit`, which may open before its time: slots are freed, tokens are given back.
function line.await(queue, limit)
  local awaited = key('awaited:' .. limit)
  redis.call('ZADD', awaited, 'NX', whole(now), queue.name)
  redis.call('PEXPIRE', awaited, ttl_until(now + KEPT))
end

-- Wakes the head that has waited longest for a limit which has just opened a bit.
local function wake_one(awaited)
  for _ = 1, MOST_SKIPPED do
    local name = redis.call('ZPOPMIN', awaited)[1]
    local head = name and redis.call('ZRANGE', key('line:' .. name), 0, 0)[1]
    if not name or head and redis.call('PUBLISH', channel(head), 'opened') > 0 then
      return
    end
  end
end

function line.wake_awaiting(limits)
  for limit in string.gmatch(limits, '[^\31]+') do
    wake_one(key('awaited:' .. limit))
  end
end
