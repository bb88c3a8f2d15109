-- A lease is the record of a released task in flight, from the release on. Its fence is the number
-- of the attempt; whoever shows another fence is a duplicate or a zombie. It keeps the limits that
-- the task was charged to, so that just those are settled.
local FIELDS = '^(%d+)\30([^\30]*)\30(%d+)\30(%d+)\30([^\30]*)\30(%d+)(.*)$'
local LEASE, LEASES = key('lease'), key('leases')
-- A slot in flight is freed when its lease is closed, and not by the time: a lease that is past its
-- deadline may yet be found alive. So a slot outlasts its lease, by far.
local SLOT_OUTLASTS = 86400000000
local lease = {}

function lease.slot_until(deadline)
  return deadline + SLOT_OUTLASTS
end

function lease.record(self)
  return self.fence .. '\30' .. self.claimant .. '\30' .. self.requests .. '\30' .. self.tokens
    .. '\30' .. self.lane .. '\30' .. whole(self.released_at) .. self.charged
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
  local fence, claimant, requests, tokens, lane_name, released_at, charged = string.match(record, FIELDS)
  return {
    task = task, fence = fence, claimant = claimant, lane = lane_name, charged = charged,
    requests = tonumber(requests), tokens = tonumber(tokens), released_at = tonumber(released_at),
  }
end

function lease.is_claimed(self)
  return self.claimant ~= ''
end

function lease.has_slots(self)
  return string.find(self.charged, 'in_flight\29', 1, true)
end

-- Takes the record out. Whoever calls this has settled what the task was charged.
function lease.remove(self)
  redis.call('HDEL', LEASE, self.task)
  redis.call('ZREM', LEASES, self.task)
end
