-- A lease is the record of a released task in flight, from the release on. Its fence is the number
-- of the attempt; whoever shows another fence is a duplicate or a zombie. It keeps the limits that
-- the task was charged to, so that just those are settled. From the claim on it knows when the task
-- started, and from the first report of its cost on the tokens that are settled.
local FIELDS = '^(%d+)\30([^\30]*)\30(%d+)\30(%d+)\30([^\30]*)\30(%d+)\30(%d*)\30(%d*)(.*)$'
local LEASE, LEASES = key('lease'), key('leases')
-- A slot in flight is freed when its lease is closed, and not by the time: a lease that is past its
-- deadline may yet be found alive. So a slot outlasts its lease, by far.
local SLOT_OUTLASTS = 86400000000
local lease = {}

function lease.slot_until(deadline)
  return deadline + SLOT_OUTLASTS
end

function lease.record(self)
  local started, settled = self.started_at, self.settled
  return self.fence .. '\30' .. self.claimant .. '\30' .. self.requests .. '\30' .. self.tokens
    .. '\30' .. self.lane .. '\30' .. whole(self.released_at)
    .. '\30' .. (started and whole(started) or '') .. '\30' .. (settled and whole(settled) or '') .. self.charged
end

-- The record of a lease that begins now, without the table of it.
function lease.new_record(fence, lane_name, weight, tokens, charged)
  return fence .. '\30\30' .. weight .. '\30' .. tokens .. '\30' .. lane_name .. '\30' .. whole(now) .. '\30\30' .. charged
end

function lease.save(self)
  redis.call('HSET', LEASE, self.task, lease.record(self))
  redis.call('ZADD', LEASES, whole(self.deadline), self.task)
end

function lease.of(task)
  local record = redis.call('HGET', LEASE, task)
  if not record then
    return nil
  end
  local fence, claimant, requests, tokens, lane_name, released_at, started_at, settled, charged = string.match(record, FIELDS)
  return {
    task = task, fence = fence, claimant = claimant, lane = lane_name, charged = charged,
    requests = tonumber(requests), tokens = tonumber(tokens), released_at = tonumber(released_at),
    started_at = tonumber(started_at), settled = tonumber(settled),
  }
end

function lease.is_claimed(self)
  return self.claimant ~= ''
end

-- Whether the task has run for so long that a window may date its start anew: not before 1% of the shortest
-- window that is worth it, and not after the longest time for which any window does so.
function lease.ran_on(self)
  return now - self.started_at > 10000 and now - self.started_at <= 1000000
end

function lease.has_slots(self)
  return string.find(self.charged, 'in_flight\29', 1, true)
end

function lease.counts_tokens(self)
  return string.find(self.charged, '\29tokens\29', 1, true)
end

-- Whether a failure gives tokens back.
function lease.has_unsettled_tokens(self)
  return not self.settled and lease.counts_tokens(self)
end

-- Whether the start of the task is counted anywhere but among what is released to its queue.
function lease.dates_start(self)
  return string.find(self.charged, 'window\29', 1, true) or lease.has_slots(self)
end

-- Takes the record out. Whoever calls this has settled what the task was charged.
function lease.remove(self)
  redis.call('HDEL', LEASE, self.task)
  redis.call('ZREM', LEASES, self.task)
end
