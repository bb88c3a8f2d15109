-- A sliding window: at most `capacity` units in every stretch of `period`, wherever it starts.
--
-- The state is one string: the units used, the units held, then (time, units) pairs, oldest first.
-- Units that fall into one of CELLS parts of the period share a pair, dated at the latest of them,
-- so a unit counts until it has certainly left the window: never too early, at most period/CELLS
-- too late. Bounded at CELLS + 1 pairs of 16 bytes; each pair is added and dropped once.
--
-- Held units are charged to work that is released and has not started. They count until the work
-- starts, and from then for one period more, so calls that bunch up behind a stalled worker cannot
-- break the window when it goes on.
local CELLS = 100
local HELD_TTL = 86400000000
local PAIR_BYTES = 16
local HEADER_BYTES = 16

local window = {}

local function drop_expired(state, horizon)
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

-- What has left the window is dropped here, once: a call has one time.
function window.load(key, rule)
  local packed = redis.call('GET', key)
  local used, held, tail_time, tail_units, pairs = 0, 0, nil, nil, ''
  if packed then
    local last = #packed - PAIR_BYTES + 1
    if last == HEADER_BYTES + 1 then
      used, held, tail_time, tail_units = struct.unpack('<dddd', packed)
    else
      used, held = struct.unpack('<dd', packed)
      if last > HEADER_BYTES then
        tail_time, tail_units = struct.unpack('<dd', packed, last)
        pairs = string.sub(packed, HEADER_BYTES + 1, last - 1)
      end
    end
  end
  local state = {used = used, held = held, tail_time = tail_time, tail_units = tail_units, pairs = pairs, first = 1}
  drop_expired(state, now - rule.period)
  return state
end

-- When `units` would fit, if nobody else took any. Held units cannot leave before a whole period.
function window.allow_at(rule, state, units)
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
  count(rule, state, units, now)
end

function window.hold(rule, state, units)
  state.held = state.held + units
end

-- include on demand: window_ends.lua

-- A verb of what follows an admission; these are made when the first is asked for.
function window.later(verb)
  window.ends = window.ends or load_window_ends()
  return window.ends[verb]
end

function window.remaining(rule, state)
  return math.max(0, rule.capacity - state.used - state.held)
end

function window.reset_at(rule, state)
  if state.held > 0 then
    return now + rule.period
  end
  return state.tail_time and state.tail_time + rule.period or now
end

function window.save(rule, state, key)
  local used, held, tail_time, tail_units = state.used, state.held, state.tail_time, state.tail_units
  if not tail_time and held == 0 then
    redis.call('DEL', key)
    return
  end
  local packed
  if tail_time and state.first > #state.pairs then
    packed = struct.pack('<dddd', used, held, tail_time, tail_units)
  else
    packed = struct.pack('<dd', used, held) .. string.sub(state.pairs, state.first)
      .. (tail_time and struct.pack('<dd', tail_time, tail_units) or '')
  end
  local spent_at = math.max(held > 0 and now + HELD_TTL or now, tail_time and tail_time + rule.period or now)
  redis.call('PSETEX', key, ttl_until(spent_at), packed)
end
