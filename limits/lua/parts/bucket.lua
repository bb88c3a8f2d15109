-- A token bucket as GCRA (ITU-T I.371, "virtual scheduling"). Its state is the theoretical arrival
-- time in microseconds, and how long a unit took to come back when that was written: a change of the
-- rate keeps the units that are owed. A bucket that nobody uses is full and has no key. The interval is
-- kept in 4 bytes, which are true to one part in 10^7: with 16 bytes of state, Redis 7.0 takes more for
-- a key. They only matter when the rate has changed.
local PACKED = '<df'
local SAME_RATE = 1e-7
local bucket = {is_bucket = true}

function bucket.load(key)
  local packed = redis.call('GET', key)
  if not packed then
    return {arrival = now}
  end
  local arrival, interval = struct.unpack(PACKED, packed)
  return {arrival = arrival, interval = interval}
end

-- The time in which the units come back. Rounded once for each charge and not once for each unit,
-- which would make 900,000 a minute 895,522.
local function time_of(rule, units)
  return math.ceil(units * rule.period / rule.refill)
end

-- The time in which the bucket will be full, at the rate of this rule.
local function owed(rule, state)
  local owed, interval = math.max(0, state.arrival - now), rule.period / rule.refill
  if owed > 0 and math.abs(state.interval - interval) > interval * SAME_RATE then
    owed = math.ceil(owed / state.interval * interval)
    state.arrival = now + owed
  end
  state.interval = interval
  return owed
end

function bucket.allow_at(rule, state, units)
  local room = (rule.capacity - units) * rule.period / rule.refill
  return now + math.max(0, math.ceil(owed(rule, state) - room))
end

function bucket.charge(rule, state, units)
  state.arrival = now + owed(rule, state) + time_of(rule, units)
end

bucket.hold = bucket.charge

-- Takes back what was charged at `time`, less what has come back since: a bucket that is full by
-- itself gains nothing, and whether it was meanwhile full is not known.
local function give_back(rule, state, period, time)
  local given = math.max(0, period - math.max(0, now - time))
  state.arrival = now + math.max(0, owed(rule, state) - given)
end

-- A part of a charge, rounded down; or the whole of it.
function bucket.refund(rule, state, units, _, time)
  give_back(rule, state, math.floor(units * rule.period / rule.refill), time)
end

function bucket.unhold(rule, state, units, _, time)
  give_back(rule, state, time_of(rule, units), time)
end

function bucket.remaining(rule, state)
  return math.max(0, math.floor(rule.capacity - owed(rule, state) * rule.refill / rule.period))
end

function bucket.reset_at(rule, state)
  return now + owed(rule, state)
end

function bucket.save(_, state, key)
  if state.arrival <= now then
    redis.call('DEL', key)
  else
    -- Redis 7.0 keeps the buffer of an earlier second argument as the value of a SET, however large it is.
    redis.call('PSETEX', key, ttl_until(state.arrival), struct.pack(PACKED, state.arrival, state.interval))
  end
end
