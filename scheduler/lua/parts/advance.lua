-- include: release.lua
-- include: pace.lua
--
-- Tries ready lanes, best first. Each attempt charges all limits of the lane or none, and costs the
-- same whether it releases or parks; `budget` bounds the attempts, and the clock does, so no call blocks the
-- server for long, also while a hundred thousand lanes must park at once.
local function park(self, head, allow_at, refusing)
  local at = lane.gate_of(self, refusing)
  local origins = {}
  for _, each in ipairs(lane.gates(self)) do
    if each ~= at and gate.is_due(each) then
      origins[#origins + 1] = each
    end
  end
  if origins[1] and patience.holds(self.name) and patience.lasts(self.name, allow_at) then
    gate.park_first(origins[1], self, allow_at)
    return
  end
  gate.park(at, self, head, allow_at)
  for _, each in ipairs(origins) do
    lane.wake_narrower(self, each, at)
    if gate.covers(at, each) then
      gate.wake_after(each, allow_at)
    else
      lane.touch(each)
    end
  end
end

-- The last attempt of a call leaves the next lane where it waits, as due: whoever comes next takes it.
local function attempt(self, claim_within, is_last)
  local head = lane.head(self)
  if not head then
    return
  end
  local allow_at, refusing = ledger.last_to_allow(self.scopes, head)
  if refusing then
    park(self, head, allow_at, refusing)
    return
  end
  release.make(self, head, claim_within)
  patience.restore(self.name)
  if lane.head(self) then
    turn.spend(self, lane.gates(self), head)
    lane.place(self)
  else
    turn.forget(self.name)
  end
  lane.touch_gates(self, is_last)
end

local function advance(budget, claim_within)
  while budget > 0 do
    local name = ready.take()
    if not name then
      return
    end
    local is_last = budget <= 1 or pace.is_over(1)
    attempt(lane.at(name), claim_within, is_last)
    budget = is_last and 0 or budget - 1
  end
end

local function save_state()
  ledger.save()
  lane.save()
  release.save()
  capped.save()
  ready.save()
  gate.save()
end

local function save()
  save_state()
  alarm.save()
end
