-- How many tasks may be released to a broker queue and not be started: what its workers can take, or a
-- guess before any has come. And how many places a claim lets come free before it fills them.
local DEFAULT_AHEAD = 100
local room = {}

function room.ahead_of(queue)
  return tonumber(redis.call('HGET', key('ahead'), queue) or DEFAULT_AHEAD)
end

function room.refill(queue)
  return tonumber(redis.call('HGET', key('refill'), queue) or 1)
end

-- A start has left the queue; returns how many may be released now.
function room.leave(queue)
  local unclaimed = redis.call('HINCRBY', key('unclaimed'), queue, -1)
  if unclaimed <= 0 then
    redis.call('HDEL', key('unclaimed'), queue)
  end
  return room.ahead_of(queue) - math.max(0, unclaimed)
end
