-- include: definitions.lua
-- include: depth.lua
-- include: gate.lua
-- include: ready.lua
-- include: patience.lua
--
-- A lane is the FIFO of waiting tasks that share priority, target queue and scopes. Its name says
-- them all: priority, queue, service, endpoint, loop type, loop. A service of `*` stands for work
-- that no limit concerns. Its list holds `weight, tokens, task` for each waiting task. A lane
-- without tasks does not exist; one with tasks stands among the ready or is parked at one gate.
local SEPARATOR = '\31'
local LANE = '^' .. string.rep('([^\31]*)\31', 5) .. '(.*)$'
local ELEMENT = '^(%d+)\31(%d+)\31(.*)$'
local UNLIMITED = '*'
local lane = {all = {}}

-- The scopes of a lane that have limits, the broker queue's included.
local function scopes_of(queue, service, endpoint, loop_type, loop)
  local scopes = {}
  local function add(scope)
    if #scope.limits > 0 then
      scopes[#scopes + 1] = scope
    end
  end
  if service ~= UNLIMITED then
    add(definitions.of('global'))
    if service ~= '' then
      add(definitions.of('service:' .. service))
    end
    if endpoint ~= '' then
      add(definitions.of('endpoint:' .. service .. '/' .. endpoint, 'endpoint:' .. service .. '/*'))
    end
    if loop_type ~= '' then
      add(definitions.of('loop_type:' .. loop_type, 'loop_type:*'))
    end
    if loop ~= '' then
      add(definitions.of('loop:' .. loop, 'loop:*'))
    end
  end
  add(depth.of(queue))
  return scopes
end

-- The scope that a refusal by the called service concerns: the endpoint, or else the service.
function lane.throttled_scope(name)
  local _, _, service, endpoint = string.match(name, LANE)
  if service == '' or service == UNLIMITED then
    return nil
  end
  return endpoint == '' and 'service:' .. service or 'endpoint:' .. service .. '/' .. endpoint
end

function lane.at(name)
  local self = lane.all[name]
  if not self then
    local priority, queue, service, endpoint, loop_type, loop = string.match(name, LANE)
    self = {
      name = name, key = key('lane:' .. name), priority = tonumber(priority), queue = queue,
      scopes = scopes_of(queue, service, endpoint, loop_type, loop), gates = {},
    }
    for _, scope in ipairs(self.scopes) do
      for _, each in ipairs(gate.of(scope)) do
        self.gates[#self.gates + 1] = each
      end
    end
    lane.all[name] = self
  end
  return self
end

-- A waiting task as {requests, tokens, task}.
function lane.cost(element)
  local weight, tokens, task = string.match(element, ELEMENT)
  return {requests = tonumber(weight), tokens = tonumber(tokens), task = task}
end

-- The task at the lane's head, or false. Read once for each head.
function lane.head(self)
  if self.first == nil then
    local element = redis.call('LINDEX', self.key, 0)
    self.first = element and lane.cost(element)
  end
  return self.first
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
  for _, each in ipairs(self.gates) do
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
    ready.enter(self.name, self.priority, 0)
    return true
  end
  for _, each in ipairs(self.gates) do
    local passed = origin and (each == origin or gate.covers(origin, each))
    if not passed and head[each.unit] > 0 and fair_queue.outranks(each, self.priority) then
      if origin then
        park_behind(self, head, each, origin)
      else
        gate.park(each, self, head, now)
      end
      return false
    end
  end
  ready.enter(self.name, self.priority, head.requests)
  return true
end

-- Adds a task at the end, or back at the head. A lane that did not exist before finds its place.
function lane.append(self, element)
  if redis.call('RPUSH', self.key, element) == 1 then
    self.first = nil
    lane.place(self)
    return true
  end
end

function lane.put_back(self, element)
  self.first = nil
  if redis.call('LPUSH', self.key, element) == 1 then
    lane.place(self)
  end
end

function lane.pop(self)
  redis.call('LPOP', self.key)
  self.first = nil
end

-- The gate where the lane is parked, or nil. One whose limits were taken away since the lane parked
-- there is none of the lane's any more, and must be looked for.
local function gate_that_holds(self)
  for _, each in ipairs(self.gates) do
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

-- Takes one task out. A lane that is empty now leaves its place; one with another head may go at
-- another time.
function lane.remove(self, element)
  if redis.call('LREM', self.key, 1, element) == 0 then
    return false
  end
  self.first = nil
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

-- Tries the gate again: its best lane goes on if the gate's own limits would admit its head. A
-- gate whose limits were taken away lets everybody go, one by one. True if another try may let
-- another lane go.
function lane.touch(self)
  local name = fair_queue.peek(self)
  while name do
    local best = lane.at(name)
    local head = lane.head(best)
    if head then
      local allow_at = ledger.last_to_allow(self.scopes, head)
      gate.wake_at(self, allow_at)
      if allow_at <= now then
        turn.keep(name, self.id, fair_queue.take(self, best.priority))
        local is_ready = lane.place(best, self)
        return #self.scopes == 0 or not is_ready and gate.is_due(self)
      end
      return false
    end
    fair_queue.leave(self, name)
    name = fair_queue.peek(self)
  end
  gate.wake_at(self, now)
  return false
end

-- Tries every gate of the lane where somebody waits.
function lane.touch_gates(self)
  for _, each in ipairs(self.gates) do
    if fair_queue.peek(each) then
      lane.touch(each)
    end
  end
end
