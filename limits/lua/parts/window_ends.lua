-- What becomes of the units of a window after their admission: they start, end, or are given back.
--
-- A start is dated START_SLACK of the period late: the call that follows a start reaches its service a
-- little after it. Work that ends soon after its start is dated at its end, because by then its call has
-- surely been made: a machine that is slow delays both.
local START_SLACK = 1 / 100
local LONGEST_SLACK = 250000
local SOON = 1 / 20
local LONGEST_SOON = 1000000
local window_ends = {}

local function date_of_start(rule, time)
  return time + math.min(math.floor(rule.period * START_SLACK), LONGEST_SLACK)
end

function window_ends.start(rule, state, units)
  state.held = math.max(0, state.held - units)
  count(rule, state, units, date_of_start(rule, now))
end

function window_ends.unhold(rule, state, units)
  state.held = math.max(0, state.held - units)
end

-- Takes units back from what was counted at `time`. If they have left the window there is nothing
-- to take: the next pair holds what others spent. A pair never gives more than it holds.
function window_ends.refund(rule, state, units, _, time)
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
function window_ends.take_back(rule, state, units, holder, time)
  window_ends.refund(rule, state, units, holder, date_of_start(rule, time))
end

local function redate(rule, state, units, started_at, date)
  window_ends.refund(rule, state, units, nil, date_of_start(rule, started_at))
  count(rule, state, units, date)
end

-- The work that started at `time` has not made its call yet: it starts now. What has left the window stays out.
function window_ends.restart(rule, state, units, _, time)
  if time <= now and now - time <= rule.period then
    redate(rule, state, units, time, date_of_start(rule, now))
  end
end

-- The work that started at `time` ends.
function window_ends.finish(rule, state, units, _, time)
  if date_of_start(rule, time) < now and now - time <= math.min(rule.period * SOON, LONGEST_SOON) then
    redate(rule, state, units, time, now)
  end
end
