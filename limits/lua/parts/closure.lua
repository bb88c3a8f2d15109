-- A scope that its service closed admits nothing until it opens. Then admissions ramp up as in TCP's
-- slow start (RFC 5681): in rounds of half a second, each admits twice as many as the one before,
-- evenly spread, so the n-th is due at
--
--     opened + ROUND * (k + (n - 2^k) / 2^k)        where 2^k <= n < 2^(k + 1)
--
-- What waited for the opening does not come all at once, and a service that is not ready after all
-- refuses one call and not a hundred. After ROUNDS rounds the scope's own limits are alone again.
local ROUND = 500000
local ROUNDS = 10
local closure = {unit = 'requests'}

local function opens_at(record)
  return tonumber(record.fields.closed_until or 0)
end

-- Whoever waits until then may have been told of a later time: a ramp begins anew, and so does its first admission.
local function wake_by(time, scope)
  local is_moved = redis.call('ZADD', key('wakes'), 'XX', 'LT', 'CH', whole(time), scope .. '|requests') == 1
  if is_moved and redis.call('LLEN', key('bell')) == 0 then
    redis.call('RPUSH', key('bell'), '1')
  end
end

-- A closure is never shortened by another one: calls that were under way are refused one by one.
function closure.set(record, opens, reason)
  if opens > math.max(now, opens_at(record)) then
    if record.fields.closed_until and closure.allow_at(nil, record) > opens then
      wake_by(opens, record.scope)
    end
    record.fields.closed_until, record.fields.reason, record.fields.admitted = whole(opens), reason, '0'
  end
end

function closure.lift(record)
  record.fields.closed_until, record.fields.reason, record.fields.admitted = nil, nil, nil
end

function closure.spent_at(record)
  local opens = opens_at(record)
  return opens > 0 and opens + ROUND * ROUNDS or 0
end

function closure.name(record)
  if now < opens_at(record) then
    return 'closed'
  end
  return now < closure.spent_at(record) and 'reopening' or nil
end

function closure.allow_at(_, record)
  local share, exponent = math.frexp(tonumber(record.fields.admitted) + 1)
  return opens_at(record) + math.ceil(ROUND * (exponent - 2 + 2 * share))
end

function closure.charge(_, record, units)
  record.fields.admitted = whole(tonumber(record.fields.admitted) + units)
end

closure.hold = closure.charge
