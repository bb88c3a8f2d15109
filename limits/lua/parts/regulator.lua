-- include: ledger.lua
-- include: paused.lua
-- include: closure.lua
-- include: breaker.lua
-- include: adaptive.lua
-- include: quota.lua
--
-- What holds a scope back besides its limits. A regulated scope has a record of what it is subject
-- to: one hash, of which each aspect owns some fields. An aspect is a kind of limit to the ledger.
-- It has besides
--
--     unit               what it counts
--     name(record)       how a decision calls it, nil where it does not hold at this time
--     spent_at(record)   when its fields are of no use any more; 0: they are of none
--     lift(record)       forgets its fields
--
-- so what refuses is one mechanism, whatever the reason. Two aspects also say what share of the
-- scope's limits may be used. The sorted set `regulators` lists the
-- records, scored with when they are spent. Where it is empty, all this costs one look at it a call.
local REGULATORS = key('regulators')
local ASPECTS = {paused, closure, quotas.requests, quotas.tokens, breaker, adaptive}
local regulator = {records = {}}

local function assemble()
  if not regulator.is_assembled then
    regulator.is_assembled = true
    breaker.assemble()
    adaptive.assemble()
  end
end

local function any_held()
  if regulator.any == nil then
    regulator.any = redis.call('EXISTS', REGULATORS) == 1
  end
  return regulator.any
end

local function spent_at(record)
  local last = 0
  for _, aspect in ipairs(ASPECTS) do
    last = math.max(last, aspect.spent_at(record))
  end
  return last
end

function regulator.of(scope)
  local record = regulator.records[scope]
  if not record then
    assemble()
    record = {scope = scope, key = key('regulator:' .. scope), fields = {}, stored = {}}
    local stored = any_held() and redis.call('HGETALL', record.key) or {}
    for i = 1, #stored, 2 do
      record.fields[stored[i]] = stored[i + 1]
      record.stored[#record.stored + 1] = stored[i]
    end
    for _, aspect in ipairs(ASPECTS) do
      if aspect.spent_at(record) <= now then
        aspect.lift(record)
      end
    end
    record.spent_at = spent_at(record)
    regulator.records[scope] = record
  end
  return record
end

-- Adds what holds the scope at this time to its limits.
function regulator.join(scope, limits)
  if not any_held() then
    return
  end
  local record = regulator.of(scope)
  for _, aspect in ipairs(ASPECTS) do
    local name = aspect.name(record)
    if name then
      local rule = {id = name, kind = aspect, capacity = math.huge, unit = aspect.unit}
      limits[#limits + 1] = {scope = scope, rule = rule, key = record.key, state = record}
    end
  end
end

-- Scales the limits of the scope, among these, to the share that may be used for the time being.
function regulator.scale(scope, limits)
  if not any_held() then
    return
  end
  local record = regulator.of(scope)
  local ramp, grows_at = breaker.share(record)
  local share = (ramp or 1) * (adaptive.share(record) or 1)
  if share >= 1 then
    return
  end
  for _, limit in ipairs(limits) do
    -- Several calls of a batch may share a limit, and it is scaled once.
    if limit.scope == scope and not limit.rule.stated then
      limit.rule = ledger.scaled(limit.rule, share, grows_at)
    end
  end
end

local function expire(name, time)
  if time == math.huge then
    redis.call('PERSIST', name)
  else
    redis.call('PEXPIRE', name, ttl_until(time))
  end
end

local function enlist(record)
  redis.call('ZREMRANGEBYSCORE', REGULATORS, '-inf', whole(now))
  redis.call('ZADD', REGULATORS, whole(record.spent_at), record.scope)
  expire(REGULATORS, tonumber(redis.call('ZRANGE', REGULATORS, -1, -1, 'WITHSCORES')[2]))
end

-- Writes the record. One that is of no use is not kept; a pause is kept until it is lifted.
function regulator.save(record)
  local spent = spent_at(record)
  local is_relisted = spent ~= record.spent_at
  record.spent_at, regulator.any = spent, true
  if spent <= now then
    redis.call('DEL', record.key)
    redis.call('ZREM', REGULATORS, record.scope)
    return
  end
  for _, name in ipairs(record.stored) do
    if not record.fields[name] then
      redis.call('HDEL', record.key, name)
    end
  end
  for name, value in pairs(record.fields) do
    redis.call('HSET', record.key, name, value)
  end
  if is_relisted then
    expire(record.key, spent)
    enlist(record)
  end
end

for _, aspect in ipairs(ASPECTS) do
  aspect.is_regulator, aspect.one_each = true, true
  aspect.save = function(_, record)
    regulator.save(record)
  end
end
