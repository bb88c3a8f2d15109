-- A sliding window: at most `capacity` units in every stretch of `period`, wherever it starts.
--
-- The state is one string: the units used, the units held, then (time, units) pairs, oldest first.
-- Units that fall into one of CELLS parts of the period share a pair, dated at the latest of them,
-- so a unit counts until it has certainly left the window: never too early, at most period/CELLS
-- too late. Bounded at CELLS + 1 pairs of 16 bytes; each pair is added and dropped once.
--
-- Held units are charged to work that is released and has not started. They count until the work
-- starts, and from then for one period more, so calls that bunch up behind a stalled worker cannot
-- break the window when it goes on. A start is dated START_SLACK of the period late: the call that
-- follows a start reaches its service a little after it. Work that ends soon after its start is dated at
-- its end, because by then its call has surely been made: a machine that is slow delays both.
local CELLS = 100
local START_SLACK = 1 / 100
local LONGEST_SLACK = 250000
local SOON = 1 / 20
local LONGEST_SOON = 1000000
local HELD_TTL = 86400000000
local PAIR_BYTES = 16
local HEADER_BYTES = 16

local window = {}

function window.load(key)
  local state = {used = 0, held = 0, pairs = '', first = 1}
  local packed = redis.call('GET', key)
  if packed then
    state.used, state.held = struct.unpack('<dd', packed)
    local last = #packed - PAIR_BYTES + 1
    if last > HEADER_BYTES then
      state.tail_time, state.tail_units = struct.unpack('<dd', packed, last)
      state.pairs = string.sub(packed, HEADER_BYTES + 1, last - 1)
    end
  end
  return state
end

-- The key of a window names its period, and `now` stands still in a call: once is enough.
local function drop_expired(rule, state)
  if state.is_current then
    return
  end
  state.is_current = true
  local horizon = now - rule.period
  while state.first <= #state.pairs do
    local time, units = struct.unpack('<dd', state.pairs, state.first)
    if time > horizon then
      return
    end
    state.used = state.used - units
    state.first = state.first + PAIR_BYTES
  end
  if state.tail_time and state.tail_time <= horizon then
    state.used = state.used - state.tail_units
    state.tail_time, state.tail_units = nil, nil
  end
end

-- When `units` would fit, if nobody else took any. Held units cannot leave before a whole period.
function window.allow_at(rule, state, units)
  drop_expired(rule, state)
  local excess = state.used + state.held + units - rule.capacity
  if excess <= 0 then
    return now
  end
  local position = state.first
  while position <= #state.pairs do
    local time, counted = struct.unpack('<dd', state.pairs, position)
    excess = excess - counted
    if excess <= 0 then
      return time + rule.period
    end
    position = position + PAIR_BYTES
  end
  if state.tail_time and excess <= state.tail_units then
    return state.tail_time + rule.period
  end
  return now + rule.period
end

local function count(rule, state, units, time)
  local cell = rule.period / CELLS
  if state.tail_time then
    if time < state.tail_time then
      time = state.tail_time
    end
    if math.floor(time / cell) == math.floor(state.tail_time / cell) then
      state.tail_units = state.tail_units + units
    else
      state.pairs = state.pairs .. struct.pack('<dd', state.tail_time, state.tail_units)
      state.tail_units = units
    end
  else
    state.tail_units = units
  end
  state.tail_time = time
  state.used = state.used + units
end

function window.charge(rule, state, units)
  drop_expired(rule, state)
  count(rule, state, units, now)
end

function window.hold(rule, state, units)
  state.held = state.held + units
end

local function date_of_start(rule, time)
  return time + math.min(math.floor(rule.period * START_SLACK), LONGEST_SLACK)
end

function window.start(rule, state, units)
  state.held = math.max(0, state.held - units)
  drop_expired(rule, state)
  count(rule, state, units, date_of_start(rule, now))
end

function window.unhold(rule, state, units)
  state.held = math.max(0, state.held - units)
end

-- Takes units back from what was counted at `time`. If they have left the window there is nothing
-- to take: the next pair holds what others spent. A pair never gives more than it holds.
function window.refund(rule, state, units, _, time)
  drop_expired(rule, state)
  if time <= now - rule.period then
    return
  end
  local position = state.first
  while position <= #state.pairs do
    local counted_at, counted = struct.unpack('<dd', state.pairs, position)
    if counted_at >= time then
      local given = math.min(units, counted)
      state.pairs = string.sub(state.pairs, 1, position - 1)
        .. struct.pack('<dd', counted_at, counted - given)
        .. string.sub(state.pairs, position + PAIR_BYTES)
      state.used = state.used - given
      return
    end
    position = position + PAIR_BYTES
  end
  if state.tail_time and state.tail_time >= time then
    local given = math.min(units, state.tail_units)
    state.tail_units = state.tail_units - given
    state.used = state.used - given
  end
end

-- Takes units back from work that started at `time`.
function window.take_back(rule, state, units, holder, time)
  window.refund(rule, state, units, holder, date_of_start(rule, time))
end

local function redate(rule, state, units, started_at, date)
  window.refund(rule, state, units, nil, date_of_start(rule, started_at))
  count(rule, state, units, date)
end

-- The work that started at `time` has not made its call yet: it starts now. What has left the window stays out.
function window.restart(rule, state, units, _, time)
  if time <= now and now - time <= rule.period then
    redate(rule, state, units, time, date_of_start(rule, now))
  end
end

-- The work that started at `time` ends.
function window.finish(rule, state, units, _, time)
  if date_of_start(rule, time) < now and now - time <= math.min(rule.period * SOON, LONGEST_SOON) then
    redate(rule, state, units, time, now)
  end
end

function window.remaining(rule, state)
  drop_expired(rule, state)
  return math.max(0, rule.capacity - state.used - state.held)
end

function window.reset_at(rule, state)
  drop_expired(rule, state)
  if state.held > 0 then
    return now + rule.period
  end
  return state.tail_time and state.tail_time + rule.period or now
end

function window.save(rule, state, key)
  if not state.tail_time and state.held == 0 then
    redis.call('DEL', key)
    return
  end
  local packed = struct.pack('<dd', state.used, state.held) .. string.sub(state.pairs, state.first)
  local spent_at = state.held > 0 and now + HELD_TTL or now
  if state.tail_time then
    packed = packed .. struct.pack('<dd', state.tail_time, state.tail_units)
    spent_at = math.max(spent_at, state.tail_time + rule.period)
  end
  redis.call('SET', key, packed, 'PX', ttl_until(spent_at))
end
