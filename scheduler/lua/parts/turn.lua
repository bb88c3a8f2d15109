-- What a lane may claim, or owes, at gates where it does not wait now.
--
-- A gate let it go, and another limit refused it before it could run: it has had its turn there and nothing
-- for it, and comes back with the tag that it had. Or it was released by way of another gate, while others
-- waited here or had had their turn here: it comes back with what that has cost added to its tag. Else
-- lanes of a limit inside another one would lose their place at each refusal, and of two with equal tags the
-- second in the alphabet would never be served. A lane without tasks has neither.
local TURNS = key('turns')
local TURN = '\30([^\29]*)\29([^\29]*)\29([^\30]*)'
-- Most lanes keep and owe nothing: they share this.
local NONE = {}
local turn = {lanes = {}, changed = {}}

-- Whether any lane keeps or owes anything.
function turn.is_any_kept()
  if turn.found == nil then
    turn.found = redis.call('EXISTS', TURNS) == 1
  end
  return turn.found
end

local function of(name)
  local self = turn.lanes[name]
  if not self then
    self = {tags = NONE, debts = NONE}
    local stored = turn.is_any_kept() and redis.call('HGET', TURNS, name)
    if stored then
      self.tags, self.debts = {}, {}
      for gate, tag, debt in string.gmatch(stored, TURN) do
        self.tags[gate], self.debts[gate] = tonumber(tag), tonumber(debt)
      end
    end
    turn.lanes[name] = self
  end
  return self
end

-- The tag that the lane had when this gate let it go in vain, or nil; and what it owes here.
function turn.at(name, gate)
  local self = of(name)
  return self.tags[gate], self.debts[gate] or 0
end

-- The gate lets the lane go.
function turn.keep(name, gate, tag)
  local self = of(name)
  if self.tags == NONE then
    self.tags = {}
  end
  self.tags[gate] = tag
  turn.changed[name] = true
end

-- The lane parks at the gate, and what it owed there is in its tag. Gates that let it go did so in vain.
function turn.settle(name, gate)
  local self = of(name)
  if next(self.tags) then
    turn.found = true
  end
  if self.debts[gate] then
    self.debts[gate] = nil
    turn.changed[name] = true
  end
end

-- The lane is released. Where it had no turn, and others wait or have had theirs, it owes what it cost.
function turn.spend(lane, gates, cost)
  local name, self, debts = lane.name, of(lane.name), NONE
  local is_any_kept = turn.is_any_kept()
  for i = 1, #gates do
    local each = gates[i]
    if (is_any_kept or not each.is_empty and fair_queue.peek(each)) and not self.tags[each.id] then
      debts = debts == NONE and {} or debts
      debts[each.id] = cost[each.unit] * lane.stretch
    end
  end
  if next(self.tags) or next(self.debts) or next(debts) then
    self.tags, self.debts = NONE, debts
    turn.changed[name] = true
  end
end

-- The lane has no task any more.
function turn.forget(name)
  local self = of(name)
  if next(self.tags) or next(self.debts) then
    self.tags, self.debts = NONE, NONE
    turn.changed[name] = true
  end
end

local function encode(self)
  local gates, record = {}, ''
  for gate in pairs(self.tags) do
    gates[gate] = true
  end
  for gate in pairs(self.debts) do
    gates[gate] = true
  end
  for gate in pairs(gates) do
    local tag = self.tags[gate] and string.format('%.17g', self.tags[gate]) or ''
    record = record .. '\30' .. gate .. '\29' .. tag .. '\29' .. string.format('%.17g', self.debts[gate] or 0)
  end
  return record
end

function turn.save()
  for name in pairs(turn.changed) do
    local record = encode(turn.lanes[name])
    if record ~= '' then
      redis.call('HSET', TURNS, name, record)
    elseif turn.is_any_kept() then
      redis.call('HDEL', TURNS, name)
    end
  end
end
