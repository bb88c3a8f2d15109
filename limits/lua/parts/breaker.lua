-- A circuit breaker, as `Breaker` in limits/breaker.py decides. This part is what admission asks of
-- it; parts/verdict.lua has what an outcome does to it. A breaker that never opened has no field here,
-- so a healthy service costs admission nothing.
--
-- Of the record of its scope it owns `circuit`, `circuit_since`, `circuit_until`, `trips`, `passed`,
-- and `probes`, `ramp`, `remembered_until` as they were configured when it opened. The calls that
-- probe are the sorted set `probes:<scope>`, scored with when each is given up.
local TRANSITIONS = {closed = {open = true}, open = {half_open = true}, half_open = {open = true, closed = true}}
local RAMP_FLOOR = 0.1
local RAMP_STEPS = 100
local PROBES_LOOK_AGAIN = 1000000
local BREAKER_FORGOTTEN = 86400000000
local TOLD_FOR_MS = 604800000
local breaker = {unit = 'requests', transitions = {}}

-- Its verbs are made when something is held back for the first time in a call: a realm where nothing
-- is pays for none of them.
function breaker.assemble()
  function breaker.move(record, to, at)
    local fields = record.fields
    local from = fields.circuit or 'closed'
    if not TRANSITIONS[from][to] then
      error('a breaker that is ' .. from .. ' cannot become ' .. to)
    end
    breaker.transitions[#breaker.transitions + 1] = {record.scope, from, to, whole(at)}
    fields.circuit, fields.circuit_since, fields.passed = to, whole(at), '0'
  end

  -- Writes down the transitions of this call, for whoever watches. One that time alone made is written
  -- by the call that first acts on it.
  function breaker.tell()
    for _, each in ipairs(breaker.transitions) do
      redis.call('XADD', key('transitions'), 'MAXLEN', '~', 1000, '*', 'scope', each[1], 'before', each[2], 'after', each[3], 'at_us', each[4])
      redis.call('PEXPIRE', key('transitions'), TOLD_FOR_MS)
    end
    breaker.transitions = {}
  end

  function breaker.lift(record)
    local fields = record.fields
    fields.circuit, fields.circuit_since, fields.circuit_until, fields.trips, fields.passed = nil, nil, nil, nil, nil
    fields.probes, fields.ramp, fields.remembered_until = nil, nil, nil
  end

  -- The circuit as time alone has made it.
  function breaker.circuit(record)
    local fields = record.fields
    if fields.circuit and fields.circuit ~= 'closed' then
      local cooled_at = tonumber(fields.circuit_until)
      if now >= cooled_at + BREAKER_FORGOTTEN then
        breaker.lift(record)
      elseif fields.circuit == 'open' and now >= cooled_at then
        breaker.move(record, 'half_open', cooled_at)
      end
    end
    return fields.circuit or 'closed'
  end

  function breaker.probes_key(record)
    return key('probes:' .. record.scope)
  end

  local function probing(record)
    if not record.probing then
      redis.call('ZREMRANGEBYSCORE', breaker.probes_key(record), '-inf', whole(now))
      record.probing = redis.call('ZCARD', breaker.probes_key(record))
    end
    return record.probing
  end

  function breaker.name(record)
    return breaker.circuit(record) ~= 'closed' and 'breaker' or nil
  end

  function breaker.allow_at(_, record)
    local fields = record.fields
    if fields.circuit == 'open' then
      return tonumber(fields.circuit_until)
    end
    -- A probe that ends decides at once, so this is only how often to look whether it did.
    return probing(record) + fields.passed < tonumber(fields.probes) and now or now + PROBES_LOOK_AGAIN
  end

  -- A call that passes while the breaker is not closed is a probe.
  function breaker.charge(_, record, _, holder, deadline)
    local probes = breaker.probes_key(record)
    record.probing = probing(record) + redis.call('ZADD', probes, whole(deadline), holder)
    redis.call('PEXPIRE', probes, ttl_until(tonumber(redis.call('ZRANGE', probes, -1, -1, 'WITHSCORES')[2])))
    breaker.tell()
  end

  breaker.hold = breaker.charge

  -- How much of the limits of the scope may be used, and when that will be more; nil for all.
  function breaker.share(record)
    local fields = record.fields
    if breaker.circuit(record) ~= 'closed' or not fields.trips then
      return nil
    end
    local ramp = tonumber(fields.ramp)
    local share = RAMP_FLOOR + (1 - RAMP_FLOOR) * math.max(0, now - tonumber(fields.circuit_since)) / ramp
    if share < 1 then
      return share, now + math.max(1, math.ceil(ramp / RAMP_STEPS))
    end
  end

  function breaker.spent_at(record)
    local fields = record.fields
    if not fields.circuit then
      return 0
    end
    return fields.circuit == 'closed' and tonumber(fields.remembered_until) or tonumber(fields.circuit_until) + BREAKER_FORGOTTEN
  end
end
