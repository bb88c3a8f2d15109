-- include: ledger.lua
-- include: depth.lua
--
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

function lease.save(self)
  local record = self.fence .. '\30' .. self.claimant .. '\30' .. self.requests .. '\30' .. self.tokens
    .. '\30' .. self.lane .. '\30' .. whole(self.released_at) .. self.charged
  redis.call('HSET', LEASE, self.task, record)
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

-- What a release writes down of the limits that it charges.
function lease.charged(scopes, cost)
  local codes = {}
  for i = 1, #scopes do
    local limits = scopes[i].limits
    for j = 1, #limits do
      local rule = limits[j].rule
      if cost[rule.unit] > 0 and not rule.kind.is_regulator then
        codes[#codes + 1] = '\30' .. ledger.encode(limits[j])
      end
    end
  end
  return table.concat(codes)
end

function lease.apply(self, verb, time)
  local limits = {}
  for code in string.gmatch(self.charged, '\30([^\30]*)') do
    limits[#limits + 1] = ledger.decode(code)
  end
  ledger.apply(verb, {{limits = limits}}, self, self.task, time)
end

function lease.is_claimed(self)
  return self.claimant ~= ''
end

function lease.has_slots(self)
  return string.find(self.charged, 'in_flight\29', 1, true)
end

-- Ends the lease: what the task held is free, and what it was charged and never used is given back.
function lease.close(self)
  if not lease.is_claimed(self) then
    lease.apply(self, 'unhold', self.released_at)
  elseif lease.has_slots(self) then
    lease.apply(self, 'finish')
  end
  redis.call('HDEL', LEASE, self.task)
  redis.call('ZREM', LEASES, self.task)
end
