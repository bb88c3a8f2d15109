-- Wakes the dispatchers. They sleep until the earliest time that any of them was told (`asleep`);
-- a call that makes something due before that pushes one element for their blocking pop.
local alarm = {}

function alarm.set(time)
  if not alarm.earliest or time < alarm.earliest then
    alarm.earliest = time
  end
end

function alarm.save()
  if not alarm.earliest then
    return
  end
  local asleep = tonumber(redis.call('GET', key('asleep')) or math.huge)
  if alarm.earliest < asleep then
    redis.call('SET', key('asleep'), whole(alarm.earliest))
    if redis.call('LLEN', key('bell')) == 0 then
      redis.call('RPUSH', key('bell'), '1')
    end
  end
end
