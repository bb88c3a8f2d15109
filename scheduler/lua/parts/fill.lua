-- include: lane.lua
-- include: capped.lua
--
-- Counts what has waited since before its caps were stated, in slices: first the delayed tasks, then
-- lane by lane, each from its end. Whatever enters and leaves meanwhile is counted by whoever moves it, and the
-- `counted` tell the two apart. A task may be met twice, and none is missed: SCAN and ZSCAN come to all
-- that stand there throughout, and who leaves a lane pulls the place of the slices back (see `backlog.leave`).
local SLICE = 500
local SCANNED = 1000
local FILL, FILL_LANES = key('fill'), key('fill_lanes')
local fill = {}

local function take_in(lane_name, element)
  local _, own = scopes.of_lane(lane_name)
  if own.capped then
    capped.counts().fill(own.capped, lane_name, element, lane.cost(element).task)
  end
end

-- Counts a slice of the lane; returns how many tasks that was.
local function slice(lane_name)
  local offset = redis.call('HGET', FILL, 'lane') == lane_name and math.max(0, tonumber(redis.call('HGET', FILL, 'offset'))) or 0
  local elements = redis.call('LRANGE', key('lane:' .. lane_name), whole(-offset - SLICE), whole(-offset - 1))
  for _, element in ipairs(elements) do
    take_in(lane_name, element)
  end
  if #elements < SLICE then
    redis.call('LPOP', FILL_LANES)
    redis.call('HDEL', FILL, 'lane', 'offset')
  else
    redis.call('HSET', FILL, 'lane', lane_name, 'offset', whole(offset + SLICE))
  end
  return #elements
end

local function scan(phase, cursor)
  if phase == 'delayed' then
    local found = redis.call('ZSCAN', key('delayed'), cursor, 'COUNT', SLICE)
    for i = 1, #found[2], 2 do
      take_in(lane.from_entry(found[2][i]))
    end
    return found[1], 'lanes'
  end
  local prefix = key('lane:')
  local found = redis.call('SCAN', cursor, 'MATCH', prefix .. '*', 'COUNT', SCANNED)
  for _, name in ipairs(found[2]) do
    redis.call('RPUSH', FILL_LANES, string.sub(name, #prefix + 1))
  end
  return found[1], 'done'
end

-- Counts one slice. Whether there is more.
function fill.goes_on()
  local left = SLICE
  local lane_name = redis.call('LINDEX', FILL_LANES, 0)
  while lane_name and left > 0 do
    left = left - 1 - slice(lane_name)
    lane_name = redis.call('LINDEX', FILL_LANES, 0)
  end
  local phase = redis.call('HGET', FILL, 'phase') or 'delayed'
  if lane_name or left < SLICE then
    return true
  end
  if phase == 'done' or redis.call('EXISTS', key('filling')) == 0 then
    redis.call('UNLINK', key('filling'), key('counted'), FILL, FILL_LANES)
    return false
  end
  local cursor, following = scan(phase, redis.call('HGET', FILL, 'cursor') or '0')
  redis.call('HSET', FILL, 'cursor', cursor, 'phase', cursor == '0' and following or phase)
  return true
end
