-- include: scopes.lua
-- include: gate.lua
-- include: ready.lua
-- include: patience.lua
--
-- A lane is the FIFO of waiting tasks that share priority, target queue and scopes. Its list holds
-- `weight, tokens, task` for each waiting task. A lane without tasks does not exist; one with tasks
-- stands among the ready or is parked at one gate.
local SEPARATOR = '\31'
local ELEMENT = '^(%d+)\31(%d+)\31(.*)$'
-- The list is read in pieces from its head. What is taken is dropped when the call ends, or before
-- anything else is done to the list.
local PIECES_OF_LANE = {2, 16, 64}
local ENDS_OF_PIECES = {'1', '15', '63'}
local NEAR = 500
local NOTHING = {}
local lane = {all = {}, taken = {}, searched = 0}

local function gates_of(own)
  local gates = {}
  for i = 1, #own do
    local found = gate.of(own[i])
    for j = 1, #found do
      gates[#gates + 1] = found[j]
    end
  end
  return gates
end

function lane.at(name)
  local self = lane.all[name]
  if not self then
    local group, own, stretch, narrow = scopes.of_lane(name)
    group.gates = group.gates or gates_of(group.without_loop)
    self = {
      name = name, key = key('lane:' .. name), priority = group.priority, queue = group.queue, stretch = stretch,
      scopes = own, narrow = narrow, found_gates = group.gates, elements = NOTHING, at = 1, pieces = 0,
    }
    if narrow and gate.is_busy(narrow) then
      gate.of(narrow)
    end
    lane.all[name] = self
  end
  return self
end

-- The gates of its scopes, widest first. The gate of a loop is made when somebody waits there, or may claim a
-- turn: at most loops nobody does.
function lane.gates(self)
  local narrow = self.narrow
  if narrow and (narrow.gates or turn.found or turn.found == nil and turn.is_any_kept()) then
    self.found_gates, self.narrow = gates_of(self.scopes), nil
  end
  return self.found_gates
end

-- The gate of a limit that refuses the lane.
function lane.gate_of(self, limit)
  if not limit.gate then
    gate.of(self.narrow)
  end
  return limit.gate
end

-- A waiting task as {requests, tokens, task}, and its costs as text.
function lane.cost(element)
  local weight, tokens, task = string.match(element, ELEMENT)
  return {requests = tonumber(weight), tokens = tonumber(tokens), task = task, weight = weight, tokens_text = tokens}
end

-- Drops what was taken from the list.
local function drop(self)
  if self.at > 1 then
    redis.call('LPOP', self.key, whole(self.at - 1))
    self.at, self.elements, self.is_whole = 1, NOTHING, false
  end
end

local function read_elements(self)
  drop(self)
  self.pieces = math.min(self.pieces + 1, #PIECES_OF_LANE)
  self.elements = redis.call('LRANGE', self.key, '0', ENDS_OF_PIECES[self.pieces])
  self.is_whole = #self.elements < PIECES_OF_LANE[self.pieces]
end

-- The task at the lane's head, or false.
function lane.head(self)
  if self.first == nil then
    if not self.elements[self.at] and not self.is_whole then
      read_elements(self)
    end
    local element = self.elements[self.at]
    self.first = element and lane.cost(element) or false
    if element then
      self.first.priority = self.priority
    end
  end
  return self.first
end

-- include: ageing.lua

-- Before something else is done to the list.
local function forget_list(self)
  drop(self)
  self.elements, self.is_whole, self.first = NOTHING, false, nil
end

function lane.pop(self)
  self.at = self.at + 1
  self.first = nil
  lane.taken[self.name] = self
end

function lane.save()
  for _, self in pairs(lane.taken) do
    drop(self)
  end
end

function lane.element(weight, tokens, task)
  return weight .. SEPARATOR .. tokens .. SEPARATOR .. task
end

-- A task that must be found by its time is listed as its lane and its element.
function lane.entry(name, element)
  return name .. '\30' .. element
end

function lane.from_entry(entry)
  return string.match(entry, '^([^\30]*)\30(.*)$')
end

-- A lane that a narrow gate let go to a wide one, and that now parks elsewhere: the narrow gate slept until
-- the lane comes by, and is tried again.
function lane.wake_narrower(self, origin, at)
  for _, each in ipairs(lane.gates(self)) do
    if each ~= origin and turn.at(self.name, each.id) and gate.covers(origin, each) and not gate.covers(at, each) then
      gate.wake_at(each, now)
    end
  end
end

-- Parks a lane behind those that wait at a gate, though another gate just let it go. If those behind
-- it there would have to wait at the same place, they may as well stay.
local function park_behind(self, head, at, origin)
  local opens_at = gate.opens_at(at)
  lane.wake_narrower(self, origin, at)
  if gate.covers(at, origin) then
    gate.park(at, self, head, now)
    gate.wake_after(origin, opens_at)
  elseif patience.lasts(self.name, opens_at) then
    patience.hold(self.name)
    gate.park_first(origin, self, math.max(opens_at, now + 1))
  else
    patience.bounce(self.name)
    gate.park(at, self, head, now)
  end
end

-- Finds a place for a lane that has work: behind those that wait at one of its gates with the same
-- or a higher priority, and else among the ready; true if there. `origin` is the gate that just let
-- it go. Whoever waits at a wide gate had its turn at the narrow ones inside it.
function lane.place(self, origin)
  local head = lane.head(self)
  if origin and patience.holds(self.name) then
    ready.enter(self.name, ageing.level(self), 0)
    return true
  end
  local gates = lane.gates(self)
  for i = 1, #gates do
    local each = gates[i]
    local passed = each.is_empty or origin and (each == origin or gate.covers(origin, each))
    if not passed and head[each.unit] > 0 and gate.outranks(each, self) then
      if origin then
        park_behind(self, head, each, origin)
      else
        gate.park(each, self, head, now)
      end
      return false
    end
  end
  ready.enter(self.name, ageing.level(self), head.requests * self.stretch)
  return true
end

-- Adds a task at the end, or back at the head. A lane that did not exist before finds its place.
function lane.append(self, element)
  forget_list(self)
  if redis.call('RPUSH', self.key, element) == 1 then
    lane.place(self)
    return true
  end
end

function lane.put_back(self, element)
  forget_list(self)
  if redis.call('LPUSH', self.key, element) == 1 then
    lane.place(self)
  end
end

-- The gate where the lane is parked, or nil. One whose limits were taken away since the lane parked
-- there is none of the lane's any more, and must be looked for.
local function gate_that_holds(self)
  for _, each in ipairs(lane.gates(self)) do
    if fair_queue.holds(each, self.name) then
      return each
    end
  end
  if ready.holds(self.name) then
    return nil
  end
  for _, id in ipairs(redis.call('ZRANGE', key('wakes'), 0, -1)) do
    if fair_queue.holds(gate.at(id), self.name) then
      return gate.at(id)
    end
  end
end

-- Takes one element out of the list: near its ends at once, and else by a search of all of it. What
-- was searched is counted.
local function take_out(self, element)
  local from_head = redis.call('LPOS', self.key, element, 'MAXLEN', NEAR)
  if from_head then
    lane.searched = lane.searched + from_head
    return redis.call('LREM', self.key, 1, element)
  end
  lane.searched = lane.searched + 2 * NEAR
  if redis.call('LPOS', self.key, element, 'RANK', -1, 'MAXLEN', NEAR) then
    return redis.call('LREM', self.key, -1, element)
  end
  lane.searched = lane.searched + redis.call('LLEN', self.key)
  return redis.call('LREM', self.key, 1, element)
end

-- Takes one task out. A lane that is empty now leaves its place; one with another head may go at
-- another time.
function lane.remove(self, element)
  forget_list(self)
  if take_out(self, element) == 0 then
    return false
  end
  local at = gate_that_holds(self)
  if not lane.head(self) then
    patience.restore(self.name)
    turn.forget(self.name)
    if at then
      fair_queue.leave(at, self.name)
    else
      ready.leave(self.name)
    end
  end
  if at then
    lane.touch(at)
  end
  return true
end

-- Tries the gate again: its best lane goes on if the gate's own limits would admit its head, or stays
-- as due if this is but to be known. A gate whose limits were taken away lets everybody go, one by
-- one. True if another try may let another lane go.
function lane.touch(self, stays)
  local name, score = fair_queue.peek(self)
  while name do
    local best = lane.at(name)
    name, score = gate.first(self)
    if name ~= best.name then
      best = lane.at(name)
    end
    local head = lane.head(best)
    if head then
      local allow_at = ledger.last_to_allow(self.scopes, head)
      gate.wake_at(self, allow_at)
      if allow_at > now or stays then
        return false
      end
      fair_queue.leave(self, name)
      fair_queue.tick(self, best.priority, score)
      turn.keep(name, self.id, score)
      best.let_go_by = self.id
      local is_ready = lane.place(best, self)
      return #self.scopes == 0 or not is_ready and gate.is_due(self)
    end
    fair_queue.leave(self, name)
    name, score = fair_queue.peek(self)
  end
  gate.wake_at(self, now)
  return false
end

-- Tries every gate of the lane where somebody waits.
function lane.touch_gates(self, stay)
  local gates = lane.gates(self)
  for i = 1, #gates do
    local each = gates[i]
    if not each.is_empty and fair_queue.peek(each) then
      lane.touch(each, stay)
    end
  end
end
