-- include: regulator.lua
-- include: definitions.lua
-- include: tally.lua
--
-- What the outcome of a call does to its service's breaker and adaptive share: 'ok', 'throttled',
-- 'failed', or 'open' for an end that says nothing of the service. A service that has neither costs
-- one look at its definitions.
--
-- While the breaker is closed, what ended well and what failed is counted in `calls:<scope>`.
local OK, FAILED = 1, 2
local LONGEST_DOUBLING = 50
local verdict = {}

local function trip(record, settings, trips_before)
  local fields = record.fields
  local _, _, _, cool_down, longest, probes, ramp = unpack(settings)
  if trips_before < LONGEST_DOUBLING then
    longest = math.min(cool_down * 2 ^ trips_before, longest)
  end
  breaker.move(record, 'open', now)
  fields.circuit_until, fields.trips = whole(now + longest), whole(trips_before + 1)
  fields.probes, fields.ramp, fields.remembered_until = whole(probes), whole(ramp), nil
  redis.call('DEL', key('calls:' .. record.scope), breaker.probes_key(record))
  record.probing = nil
end

-- Whoever waits for the scope is tried at once, and a dispatcher that sleeps is woken.
local function wake(scope)
  redis.call('ZADD', key('wakes'), 'XX', 0, scope .. '|requests', 0, scope .. '|tokens')
  if redis.call('LLEN', key('bell')) == 0 then
    redis.call('RPUSH', key('bell'), '1')
  end
end

local function judge(record, settings, how)
  local fields = record.fields
  local ratio, minimum, window, _, longest = unpack(settings)
  local sums = tally.count(key('calls:' .. record.scope), window, how == 'failed' and FAILED or OK)
  local calls = sums[OK] + sums[FAILED]
  if calls < minimum or sums[FAILED] < ratio * calls then
    return false
  end
  local is_repeated = fields.trips and now - tonumber(fields.circuit_since) <= longest
  trip(record, settings, is_repeated and tonumber(fields.trips) or 0)
  return true
end

local function probe(record, settings, how, holder)
  local fields = record.fields
  local deadline = redis.call('ZSCORE', breaker.probes_key(record), holder)
  if not deadline or tonumber(deadline) <= now then
    return false
  end
  if how == 'failed' then
    trip(record, settings, tonumber(fields.trips))
    return true
  end
  redis.call('ZREM', breaker.probes_key(record), holder)
  record.probing = nil
  fields.passed = whole(fields.passed + (how == 'ok' and 1 or 0))
  -- As many as the breaker asked for when it opened, so that a change of the limits cannot strand it.
  if tonumber(fields.passed) >= tonumber(fields.probes) then
    local _, _, _, _, longest, _, ramp = unpack(settings)
    breaker.move(record, 'closed', now)
    fields.circuit_until, fields.passed, fields.ramp = nil, nil, whole(ramp)
    fields.remembered_until = whole(now + math.max(longest, ramp) + 1)
    redis.call('DEL', breaker.probes_key(record))
    wake(record.scope)
  end
  return true
end

local function tell_breaker(record, settings, how, holder)
  local circuit = breaker.circuit(record)
  if circuit == 'closed' and (how == 'ok' or how == 'failed') then
    return judge(record, settings, how)
  end
  return circuit == 'half_open' and probe(record, settings, how, holder)
end

local function tell_adaptive(record, settings, how, admitted_at)
  local fields = record.fields
  local floor, decrease, recovery, reaction = unpack(settings)
  local factor = adaptive.share(record) or 1
  local cut_at, seen_at = tonumber(fields.cut_at or 0), tonumber(fields.seen_at or 0)
  if how == 'ok' and factor < 1 then
    factor = factor + math.min(reaction, math.max(0, now - seen_at)) / recovery
    seen_at = math.max(seen_at, now)
  elseif (how == 'throttled' or how == 'failed') and (cut_at == 0 or admitted_at >= cut_at and now - cut_at >= reaction) then
    factor, cut_at, seen_at = math.max(floor, factor * decrease), now, now
  else
    return false
  end
  if factor >= 1 then
    adaptive.lift(record)
  else
    fields.factor, fields.cut_at, fields.seen_at = string.format('%.17g', factor), whole(cut_at), whole(seen_at)
  end
  return true
end

-- `holder` is who was admitted, `admitted_at` when. Changes nothing for a service without breaker and
-- adaptive share. Reports come before the scopes of this call are looked up, which are scaled by them.
function verdict.report(service, how, holder, admitted_at)
  local json = redis.call('HGET', definitions.key, 'governors:' .. service)
  if not json then
    return
  end
  local governors, record = cjson.decode(json), regulator.of('service:' .. service)
  local is_changed = governors.breaker and tell_breaker(record, governors.breaker, how, holder)
  is_changed = governors.adaptive and tell_adaptive(record, governors.adaptive, how, admitted_at) or is_changed
  if is_changed then
    regulator.save(record)
    breaker.tell()
  end
end
