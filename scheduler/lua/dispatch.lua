-- include: clock.lua
-- include: keys.lua
-- include: recovery.lua
-- include: expiry.lua
-- include on demand: fill.lua
--
-- Releases what may run now. Puts lapsed leases and due delays back into their lanes, takes out what
-- has waited too long, opens the gates whose time has come, and tries the best ready lanes. Any
-- number of dispatchers may call it.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV budget: attempts, at most. The call ends earlier if it takes too long, unless it was told what time it is
-- ARGV claim_within_us: how long a release may stay unclaimed
--
-- Returns {released, recovered, promoted, expired, next_us}: counts; `expired` is how many tasks that
-- waited too long nobody has settled yet; how long until something is due: microseconds, 0 for at once, -1 for never.
local GATES_A_CALL = 250
local LAPSES_A_CALL = 50
-- A search of so many elements of a lane costs as much as an attempt.
local SEARCHED_AN_ATTEMPT = 1000
local FILLING = ' filling'
local left = tonumber(budget)
local claim_within = tonumber(claim_within_us)
local recovered, promoted = 0, 0
definitions.use_current()

local function due(set, most)
  return redis.call('ZRANGEBYSCORE', key(set), '-inf', whole(now), 'LIMIT', 0, math.max(0, math.min(left, most or left)))
end

local function first_of(set)
  local first = redis.call('ZRANGE', key(set), 0, 0, 'WITHSCORES')
  return tonumber(first[2] or math.huge)
end

-- A change of the limits concerns every gate: each is tried again under the new ones. So many gates
-- a call are set due; ZSCAN comes to each that stood there at the beginning, and those that came
-- later were closed under the new limits.
local function sweep()
  local version, cursor = string.match(redis.call('GET', key('sweep')) or '', '^(%S+) (%d+)$')
  local at = version == definitions.version and cursor or '0'
  local found = redis.call('ZSCAN', key('wakes'), at, 'COUNT', GATES_A_CALL)
  local due_now = {}
  for i = 1, #found[2], 2 do
    due_now[i], due_now[i + 1] = '0', found[2][i]
  end
  if due_now[1] then
    redis.call('ZADD', key('wakes'), 'XX', unpack(due_now))
  end
  if found[1] == '0' then
    local fills = redis.call('EXISTS', key('filling')) == 1
    redis.call('SET', key('dispatched'), definitions.version .. (fills and FILLING or ''))
    redis.call('DEL', key('sweep'))
    return fills
  end
  redis.call('SET', key('sweep'), definitions.version .. ' ' .. found[1])
  return true
end

-- Then what waits is counted, where a cap on it is new.
local function go_on_filling()
  if load_fill().goes_on() then
    return true
  end
  redis.call('SET', key('dispatched'), definitions.version)
  return false
end

local is_sweeping = false
local dispatched = redis.call('GET', key('dispatched'))
if dispatched == definitions.version .. FILLING then
  is_sweeping = go_on_filling()
elseif dispatched ~= definitions.version then
  is_sweeping = sweep()
end

local told = {}
local lapsed = due('leases', LAPSES_A_CALL)
for _, task in ipairs(lapsed) do
  told[task] = recovery.tell_lapsed(task)
end
for _, task in ipairs(lapsed) do
  -- What its service was told of is put back in the same call.
  if told[task] or not pace.is_over(1) then
    left = left - 1
    if recovery.lapse(task, claim_within) then
      recovered = recovered + 1
    end
  end
end

for _, entry in ipairs(due('delayed')) do
  if pace.is_over(1) then
    break
  end
  left = left - 1
  promoted = promoted + 1
  redis.call('ZREM', key('delayed'), entry)
  local name, element = lane.from_entry(entry)
  lane.append(lane.at(name), element)
end

for _, entry in ipairs(due('deadlines')) do
  if left <= 0 or pace.is_over(1) then
    break
  end
  lane.searched = 0
  redis.call('ZREM', key('deadlines'), entry)
  expiry.expire(entry)
  left = left - 1 - math.floor(lane.searched / SEARCHED_AN_ATTEMPT)
end

-- Half of the attempts and of the time are for the lanes that the gates let go.
local for_lanes = math.floor(left / 2)
local function gates_have_had_theirs()
  return left <= for_lanes or pace.is_over(1 / 2)
end
for _, name in ipairs(due('wakes')) do
  repeat
    left = left - 1
  until not lane.touch(gate.at(name)) or gates_have_had_theirs()
  if gates_have_had_theirs() then
    break
  end
end

advance(math.max(1, left), claim_within)
save_state()

local next_at = math.min(first_of('leases'), first_of('delayed'), first_of('deadlines'), first_of('wakes'))
if ready.left or is_sweeping then
  next_at = now
end
redis.call('SET', key('asleep'), whole(math.min(next_at, 2 ^ 53)))
local expired = redis.call('HLEN', key('expired'))
return {release.count, recovered, promoted, expired, next_at == math.huge and -1 or whole(math.max(0, next_at - now))}
