-- A cap on work in flight. Each holder has a slot in a sorted set, scored with the deadline at
-- which the slot lapses if nobody renews it. Work takes one slot, whatever it weighs.
local in_flight = {one_each = true}

function in_flight.load(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now))
  return {key = key, taken = redis.call('ZCARD', key)}
end

function in_flight.allow_at(rule, state)
  if state.taken < rule.capacity then
    return now
  end
  -- After a cap was lowered, more than one slot has to end.
  local last = state.taken - rule.capacity
  local slot = redis.call('ZRANGE', state.key, last, last, 'WITHSCORES')
  return math.max(now + 1, tonumber(slot[2] or now))
end

local function take(rule, state, units, holder, deadline)
  state.taken = state.taken + redis.call('ZADD', state.key, whole(deadline), holder)
  local last = redis.call('ZRANGE', state.key, -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', state.key, ttl_until(tonumber(last[2])))
end

local function free(rule, state, units, holder)
  state.taken = state.taken - redis.call('ZREM', state.key, holder)
end

in_flight.charge, in_flight.hold, in_flight.start, in_flight.renew = take, take, take, take
in_flight.unhold, in_flight.finish = free, free

function in_flight.remaining(rule, state)
  return math.max(0, rule.capacity - state.taken)
end

function in_flight.reset_at()
  return now
end
