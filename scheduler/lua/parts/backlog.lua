-- The backlog of a scope is what waits of its tasks, the delayed ones too: how many, and how many
-- bytes their messages take. It is counted for scopes that have a cap, in the hash `backlog:<cap>`,
-- where the cap is named after the table that states it (`loop:*`). A released task is in none, and one that
-- comes back is in again, cap or no cap.
--
-- A cap that is new is being filled: see parts/caps.lua of the limits. Meanwhile it counts only tasks
-- that are among the `counted`.
local COUNTED = key('counted')
local PRIORITY, RESOLUTION = 2 ^ 48, 16
local MOST_CALLED, CALLED_FOR_MS = 100, 5000
local ATTEMPT = '~%d+%.%d+$'
local backlog = {changed = {}}

local function stored_at(scope)
  return key('backlog:' .. scope.cap.key)
end

local function count_of(scope)
  local self = scope.backlog
  if not self then
    local tasks, bytes = unpack(redis.call('HMGET', stored_at(scope), scope.name, scope.name .. '|bytes'))
    self = {tasks = tonumber(tasks or 0), bytes = tonumber(bytes or 0)}
    scope.backlog = self
  end
  return self
end

-- The caps that are being filled, or false.
local function filling()
  if backlog.filling == nil then
    local caps = redis.call('SMEMBERS', key('filling'))
    backlog.filling = caps[1] and {} or false
    for _, cap in ipairs(caps) do
      backlog.filling[cap] = true
    end
  end
  return backlog.filling
end

local function fills_any(scopes)
  for _, scope in ipairs(filling() and scopes or {}) do
    if backlog.filling[scope.cap.key] then
      return true
    end
  end
end

local function change(scope, tasks, bytes)
  local self = count_of(scope)
  self.tasks, self.bytes = self.tasks + tasks, self.bytes + bytes
  backlog.changed[scope.name] = scope
end

function backlog.enter(scopes, task, bytes)
  for _, scope in ipairs(scopes) do
    change(scope, 1, bytes)
  end
  if fills_any(scopes) then
    redis.call('SADD', COUNTED, task)
  end
end

-- Where the slices that fill a lane have come to is counted from its end.
local function pull_back(lane_name)
  if redis.call('HGET', key('fill'), 'lane') == lane_name then
    redis.call('HINCRBY', key('fill'), 'offset', -1)
  end
end

function backlog.leave(scopes, lane_name, element, task, bytes)
  local fills = fills_any(scopes)
  local is_counted = not fills or redis.call('SREM', COUNTED, task) == 1
  if fills and is_counted then
    pull_back(lane_name)
  end
  for _, scope in ipairs(scopes) do
    if is_counted or not backlog.filling[scope.cap.key] then
      change(scope, -1, -bytes)
      if scope.cap.overflow == 'shed' then
        redis.call('ZREM', backlog.sheddable(scope), lane_name .. '\30' .. element)
      end
    end
  end
end

-- The index of what may be dropped for others: lane and element of each task that was never released and
-- continues nothing, the lowest priority first, and of that what waits longest. A unit of the score is RESOLUTION.
function backlog.sheddable(scope)
  return key('sheddable:' .. scope.name)
end

local function index(scope, lane_name, element, since)
  if scope.cap.overflow == 'shed' then
    local score = tonumber(string.sub(lane_name, 1, 1)) * PRIORITY + math.floor(since / RESOLUTION)
    redis.call('ZADD', backlog.sheddable(scope), whole(score), lane_name .. '\30' .. element)
  end
end

-- New work, which may be dropped for other work. It waits since then.
function backlog.enter_new(scopes, lane_name, element, task, bytes, since)
  backlog.enter(scopes, task, bytes)
  for _, scope in ipairs(scopes) do
    index(scope, lane_name, element, since)
  end
end

local function is_new(task)
  return not string.find(task, ATTEMPT) and redis.call('HEXISTS', key('redelivered'), task) == 0
end

-- A task that has waited since before its caps were stated.
function backlog.fill(scopes, lane_name, element, task)
  if fills_any(scopes) and redis.call('SADD', COUNTED, task) == 1 then
    local bytes, since = redis.call('HSTRLEN', key('message'), task), nil
    for _, scope in ipairs(scopes) do
      if backlog.filling[scope.cap.key] then
        change(scope, 1, bytes)
        if scope.cap.overflow == 'shed' and is_new(task) then
          since = since or struct.unpack('<d', redis.call('HGET', key('message'), task), 9)
          index(scope, lane_name, element, since)
        end
      end
    end
  end
end

-- How full the scope is, 1 for as much as its cap allows: the fuller of its tasks and their bytes.
function backlog.pressure(scope)
  local self, cap = count_of(scope), scope.cap
  local tasks = cap.tasks > 0 and self.tasks / cap.tasks or 0
  return math.max(tasks, cap.bytes > 0 and self.bytes / cap.bytes or 0)
end

-- What a message of so many bytes finds no room for in a scope: 'tasks' or 'bytes', then how much waits, what may,
-- and how many tasks must go; nil if there is room, once so many tasks and bytes have gone.
function backlog.lacks(scope, bytes, freed_tasks, freed_bytes)
  local self, cap = count_of(scope), scope.cap
  if cap.tasks > 0 and self.tasks - (freed_tasks or 0) >= cap.tasks then
    return 'tasks', self.tasks, cap.tasks, self.tasks - cap.tasks + 1
  end
  if cap.bytes > 0 and self.bytes - (freed_bytes or 0) + bytes > cap.bytes then
    local share = (self.bytes + bytes - cap.bytes) / math.max(1, self.bytes)
    return 'bytes', self.bytes, cap.bytes, math.max(1, math.ceil(math.min(1, share) * self.tasks))
  end
end

-- The first of the scopes that has no room.
function backlog.full(scopes, bytes)
  for _, scope in ipairs(scopes) do
    if backlog.lacks(scope, bytes) then
      return scope
    end
  end
end

-- Calls as many of the submitters who wait for room as there is room for; each tries again. Who waits listens at
-- `room:<scope>`, and has said so in `wanted:<scope>`.
local function call_submitters(scope)
  local self, cap = count_of(scope), scope.cap
  local room = cap.tasks > 0 and cap.tasks - self.tasks or 1
  if room <= 0 or redis.call('EXISTS', key('wanted:' .. scope.name)) == 0 then
    return
  end
  local calls = key('room:' .. scope.name)
  for _ = redis.call('LLEN', calls) + 1, math.min(room, MOST_CALLED) do
    redis.call('RPUSH', calls, '1')
  end
  redis.call('PEXPIRE', calls, CALLED_FOR_MS)
end

function backlog.save()
  for name, scope in pairs(backlog.changed) do
    local self, stored = count_of(scope), stored_at(scope)
    if self.tasks == 0 then
      redis.call('HDEL', stored, name, name .. '|bytes')
    else
      redis.call('HSET', stored, name, whole(self.tasks), name .. '|bytes', whole(self.bytes))
    end
    if scope.cap.overflow == 'block' then
      call_submitters(scope)
    end
  end
  backlog.changed = {}
end
