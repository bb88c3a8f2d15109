-- Where each lane was parked, and when last: a sorted set for each lane, of its gates by time. A gate that lets a
-- lane go and holds its next task again is no news, so work behind one limit writes nothing here.
local REMEMBERED = 3600000000
local history = {}

function history.note(lane_name, gate_id)
  local noted = key('parked:' .. lane_name)
  redis.call('ZADD', noted, whole(now), gate_id)
  redis.call('PEXPIRE', noted, ttl_until(now + REMEMBERED))
end

-- {gate, microseconds since it last parked the lane, ...}: the latest first.
function history.of(lane_name)
  local found = redis.call('ZREVRANGE', key('parked:' .. lane_name), 0, -1, 'WITHSCORES')
  for i = 2, #found, 2 do
    found[i] = whole(now - found[i])
  end
  return found
end
