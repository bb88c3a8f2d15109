-- include: ledger.lua
-- include: depth.lua
--
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

local function write_down(self)
  local record = self.fence .. '\30' .. self.claimant .. '\30' .. self.requests .. '\30' .. self.tokens
    .. '\30' .. self.lane .. '\30' .. whole(self.released_at)
    .. '\30' .. (self.started_at and whole(self.started_at) or '') .. '\30' .. (self.settled and whole(self.settled) or '')
    .. self.charged
  redis.call('HSET', LEASE, self.task, record)
end

function lease.save(self)
  write_down(self)
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

-- What a release writes down of the limits that it charges, and of those that count tokens in any
-- case: a task that reserves none may yet spend some.
function lease.charged(scopes, cost)
  local codes = {}
  for i = 1, #scopes do
    local limits = scopes[i].limits
    for j = 1, #limits do
      local rule = limits[j].rule
      if cost[rule.unit] > 0 or rule.unit == 'tokens' then
        codes[#codes + 1] = '\30' .. ledger.encode(limits[j])
      end
    end
  end
  return table.concat(codes)
end

local function limits_of(self)
  local limits = {}
  for code in string.gmatch(self.charged, '\30([^\30]*)') do
    limits[#limits + 1] = ledger.decode(code)
  end
  return limits
end

function lease.apply(self, verb, time)
  ledger.apply(verb, {{limits = limits_of(self)}}, self, self.task, time)
end

function lease.is_claimed(self)
  return self.claimant ~= ''
end

function lease.has_slots(self)
  return string.find(self.charged, '\30in_flight\29', 1, true)
end

function lease.counts_tokens(self)
  return string.find(self.charged, '\29tokens\29', 1, true)
end

-- Makes what a started task is charged in tokens what it has cost; true if some go back. A task that
-- cost more than a limit held when it was released took all of it, and no more.
local function correct_tokens(self, cost)
  local gives_back = false
  for _, limit in ipairs(limits_of(self)) do
    local rule = limit.rule
    if rule.unit == 'tokens' then
      local counted = self.settled or math.min(self.tokens, rule.capacity)
      -- The ledger takes no more from a limit than it holds. But what is spent is spent.
      rule.capacity = math.huge
      if cost < counted then
        ledger.apply('take_back', {{limits = {limit}}}, {tokens = counted - cost}, self.task, self.started_at)
        gives_back = true
      else
        ledger.apply('charge', {{limits = {limit}}}, {tokens = cost - counted})
      end
    end
  end
  return gives_back
end

function lease.settle(self, cost)
  local gives_back = correct_tokens(self, cost)
  self.settled = cost
  write_down(self)
  return gives_back
end

-- Ends the lease: what the task held is free, and what it was charged and never used is given back.
-- A task that `failed` before it settled its tokens is taken to have spent none. True if anything is
-- free now that was not.
function lease.close(self, failed)
  local frees = lease.has_slots(self) or not lease.is_claimed(self)
  if not lease.is_claimed(self) then
    lease.apply(self, 'unhold', self.released_at)
  else
    if lease.has_slots(self) then
      lease.apply(self, 'finish')
    end
    if failed and not self.settled and lease.counts_tokens(self) then
      frees = correct_tokens(self, 0) or frees
    end
  end
  redis.call('HDEL', LEASE, self.task)
  redis.call('ZREM', LEASES, self.task)
  return frees
end
