-- include: lease.lua
-- include: ledger.lua
-- include: depth.lua
--
-- What a lease says of the limits that its task was charged to, and what becomes of the charge when
-- the task starts, ends or never runs.
local function codes_of(scope, cost)
  local codes = {}
  for _, limit in ipairs(scope.limits) do
    if cost[limit.rule.unit] > 0 and not limit.rule.kind.is_regulator then
      codes[#codes + 1] = '\30' .. ledger.encode(limit)
    end
  end
  return table.concat(codes)
end

-- What a release writes down of the limits that it charges: of a scope, the same for all that cost
-- something in the same units.
function lease.charged(scopes, cost)
  local units = cost.tokens == 0 and 'codes_of_requests' or cost.requests == 0 and 'codes_of_tokens' or 'codes_of_both'
  local codes = {}
  for i = 1, #scopes do
    local scope = scopes[i]
    scope[units] = scope[units] or codes_of(scope, cost)
    codes[i] = scope[units]
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

-- Ends the lease: what the task held is free, and what it was charged and never used is given back.
function lease.close(self)
  if not lease.is_claimed(self) then
    lease.apply(self, 'unhold', self.released_at)
  elseif lease.has_slots(self) then
    lease.apply(self, 'finish')
  end
  lease.remove(self)
end
