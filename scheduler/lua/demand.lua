-- include: clock.lua
-- include: keys.lua
-- include: scopes.lua
--
-- What asks for workers, as one moment shows it: what lies ready, who works, which lanes wait, and what their
-- limits will admit until the horizon. Changes nothing; `desired_workers` in scheduler/desired_workers.py makes a
-- number of it. The cost is bounded, whatever waits: so many gates, the next to open first, so many lanes
-- of each and of all. The others count as one task each that is like the last lane that was looked at, its loop apart.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV horizon_us: how far to look ahead
-- ARGV queues...: broker queues whose work counts; none: all
--
-- Returns {ready, crew, run_times, limits, lanes}: tasks that lie ready in the broker or with a worker; name and
-- presence of each worker that lives; service and `mean_us weight`; scope, id, unit, units admitted until the
-- horizon (text), slots free (-1: it counts none) and taken of each limit; service, waiting tasks, requests and tokens of the
-- first, and the positions of its limits, of each lane.
local MOST_GATES = 64
local MOST_LANES_OF_A_GATE = 16
local MOST_LANES = 128
-- kombu's lists of a queue for messages with a priority.
local PRIORITY_LISTS = {'', '\6\0223', '\6\0226', '\6\0229'}
local horizon = tonumber(horizon_us)
definitions.use_current()

local counted, all_queues = {}, queues[1] == nil
for _, queue in ipairs(queues) do
  counted[queue] = true
end

local function counts(queue)
  return all_queues or counted[queue]
end

-- A presence is `until_us numbers`, then the queues.
local function crew_at_work()
  local crew, members = {}, redis.call('HGETALL', key('crew'))
  for i = 1, #members, 2 do
    local until_us, presence, served = string.match(members[i + 1], '^(%d+) ([^\31]*)(.*)$')
    local serves = false
    for queue in string.gmatch(served, '\31([^\31]*)') do
      serves = serves or counts(queue)
      if all_queues and tonumber(until_us) > now then
        counted[queue] = true
      end
    end
    if serves and tonumber(until_us) > now then
      crew[#crew + 1] = members[i]
      crew[#crew + 1] = presence
    end
  end
  return crew
end

-- What is released and unclaimed may lie in the list still, or with a worker: it is not counted twice.
local function lying_ready()
  local ready, unclaimed = 0, redis.call('HGETALL', key('unclaimed'))
  for i = 1, #unclaimed, 2 do
    if counts(unclaimed[i]) then
      counted[unclaimed[i]] = tonumber(unclaimed[i + 1])
    end
  end
  for queue, released in pairs(counted) do
    local listed = 0
    for _, list in ipairs(PRIORITY_LISTS) do
      listed = listed + redis.call('LLEN', queue .. list)
    end
    ready = ready + math.max(listed, tonumber(released) or 0)
  end
  return ready
end

-- The units that a limit admits until the horizon, and its slots.
local supply = {}

function supply.window(limit)
  local rule = limit.rule
  if rule.period <= horizon then
    return ledger.remaining(limit) + rule.capacity * horizon / rule.period, -1, 0
  end
  -- The same window, as it will be then if nothing more is charged.
  now = now + horizon
  local until_then = rule.kind.remaining(rule, rule.kind.load(limit.key, rule))
  now = now - horizon
  return until_then, -1, 0
end

function supply.bucket(limit)
  return ledger.remaining(limit) + limit.rule.refill / limit.rule.period * horizon, -1, 0
end

function supply.in_flight(limit)
  local free = ledger.remaining(limit)
  return 0, free, limit.rule.capacity - free
end

-- nil if it holds nothing until the horizon.
local function supply_of(limit)
  local kind = limit.rule.kind
  if kind == kinds.depth or kind.is_shadow then
    return nil
  elseif kind.is_regulator then
    local cost = {[limit.rule.unit] = 1}
    if ledger.allow_at(limit, cost) > now + horizon then
      return 0, -1, 0
    end
    return nil
  end
  return supply[limit.rule.name](limit)
end

local limits, places = {}, {}

local function place_of(limit)
  local id = limit.scope .. '|' .. limit.rule.id
  if places[id] == nil then
    local until_then, slots, taken = supply_of(limit)
    places[id] = false
    if until_then then
      limits[#limits + 1] = {limit.scope, limit.rule.id, limit.rule.unit, string.format('%.9g', until_then), slots, taken}
      places[id] = #limits - 1
    end
  end
  return places[id]
end

local lanes, last = {}, nil

local function add(service, waiting, requests, tokens, own, without_loop)
  local entry = {service, waiting, requests, tokens}
  for _, scope in ipairs(own) do
    for _, limit in ipairs(scope.limits) do
      local is_left_out = without_loop and string.sub(limit.scope, 1, 5) == 'loop:'
      local place = not is_left_out and place_of(limit)
      if place then
        entry[#entry + 1] = place
      end
    end
  end
  lanes[#lanes + 1] = entry
end

local function add_lane(name)
  local queue, service = string.match(name, '^%d\31([^\31]*)\31([^\31]*)')
  local first = counts(queue) and redis.call('LINDEX', key('lane:' .. name), 0)
  if first then
    local requests, tokens = string.match(first, '^(%d+)\31(%d+)')
    local _, own = scopes.of_lane(name)
    last = {service, tonumber(requests), tonumber(tokens), own}
    add(service, redis.call('LLEN', key('lane:' .. name)), last[2], last[3], own)
  end
end

local function add_others(count)
  if last and count > 0 then
    local service, requests, tokens, own = unpack(last)
    add(service, count, requests, tokens, own, true)
  end
end

local left = MOST_LANES

local function add_queue_of_lanes(name)
  local found = redis.call('ZRANGE', name, 0, math.min(left, MOST_LANES_OF_A_GATE) - 1)
  for _, each in ipairs(found) do
    add_lane(each)
  end
  left = left - #found
  if #found == MOST_LANES_OF_A_GATE or left == 0 then
    add_others(redis.call('ZCARD', name) - #found)
  end
end

local crew, ready = crew_at_work(), lying_ready()
add_queue_of_lanes(key('ready'))
local gates = redis.call('ZRANGE', key('wakes'), 0, MOST_GATES - 1)
local looked_at = 0
for _, id in ipairs(gates) do
  if left <= 0 then
    break
  end
  add_queue_of_lanes(key('gate:' .. id))
  looked_at = looked_at + 1
end
add_others(redis.call('ZCOUNT', key('wakes'), '-inf', whole(now + horizon)) - looked_at)
return {ready, crew, redis.call('HGETALL', key('run_times')), limits, lanes}
