-- include: lease.lua
-- include: ledger.lua
-- include: depth.lua
--
-- What a lease says of the limits that its task was charged to, and what becomes of the charge when
-- the task starts, ends or never runs.
local function codes_of(scope, cost)
  local codes = ''
  for _, limit in ipairs(scope.limits) do
    local rule = limit.rule
    if (cost[rule.unit] > 0 or rule.unit == 'tokens') and not rule.kind.is_regulator then
      codes = codes .. '\30' .. ledger.encode(limit)
    end
  end
  return codes
end

-- What a release writes down of the limits that it charges, and of those that count tokens in any
-- case, because a task that reserves none may yet spend some. Of a scope, that is the same for all that
-- cost something in the same units.
function lease.charged(scopes, cost)
  local units = cost.tokens == 0 and 'codes_of_requests' or cost.requests == 0 and 'codes_of_tokens' or 'codes_of_both'
  local charged = ''
  for i = 1, #scopes do
    local scope = scopes[i]
    local codes = scope[units]
    if not codes then
      codes = codes_of(scope, cost)
      scope[units] = codes
    end
    charged = charged .. codes
  end
  return charged
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
  redis.call('HSET', LEASE, self.task, lease.record(self))
  return gives_back
end

-- The worker heard of its claim too late to trust its date, and asks again before user code runs.
function lease.restart(self)
  lease.apply(self, 'restart', self.started_at)
  self.started_at = math.max(now, self.started_at)
  redis.call('HSET', LEASE, self.task, lease.record(self))
end

-- The task has ended: its slots are free, and if it was short its calls are dated at this time.
function lease.finish(self)
  local cost = {requests = self.requests, tokens = self.settled or self.tokens}
  ledger.apply('finish', {{limits = limits_of(self)}}, cost, self.task, self.started_at)
end

-- Ends the lease: what the task held is free, and what it was charged and never used is given back.
-- A task that `failed` before it settled its tokens is taken to have spent none.
function lease.close(self, failed)
  if not lease.is_claimed(self) then
    lease.apply(self, 'unhold', self.released_at)
  else
    if failed and lease.has_unsettled_tokens(self) then
      correct_tokens(self, 0)
      self.settled = 0
    end
    if lease.has_slots(self) or lease.ran_on(self) then
      lease.finish(self)
    end
  end
  lease.remove(self)
end
