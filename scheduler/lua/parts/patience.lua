-- Work that needs two busy limits, neither inside the other, would never find both open: each
-- admission is taken at once by work that needs one of them. A lane that is sent from one such gate
-- to the other gains patience with the time: it may hold the gate that admits it until the other
-- opens, for at most an eighth of the time that it has been sent about, and never longer than
-- LONGEST. That is what the others at the gate may lose by it.
local SHARE = 1 / 8
local LONGEST = 1000000
local BOUNCED, HOLDING = key('bounced'), key('holding')
local patience = {}

local function anybody()
  if patience.any == nil then
    patience.any = redis.call('EXISTS', BOUNCED) == 1
  end
  return patience.any
end

function patience.bounce(name)
  patience.any = true
  redis.call('HSETNX', BOUNCED, name, whole(now))
end

-- Whether the lane may hold a gate until then.
function patience.lasts(name, opens_at)
  local since = anybody() and redis.call('HGET', BOUNCED, name)
  return since and opens_at - now <= math.min(LONGEST, (now - since) * SHARE)
end

function patience.hold(name)
  redis.call('SADD', HOLDING, name)
end

function patience.holds(name)
  return anybody() and redis.call('SISMEMBER', HOLDING, name) == 1
end

-- The lane has moved on, or is gone.
function patience.restore(name)
  if anybody() then
    redis.call('HDEL', BOUNCED, name)
    redis.call('SREM', HOLDING, name)
  end
end
