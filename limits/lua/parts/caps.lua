-- What becomes of the counts of what waits when the caps on it change. A cap that is new, or that
-- concerns other scopes than before, is filled: it counts whatever enters and leaves from now on, and
-- dispatches count what waits already, in slices. One that stays keeps its counts.
--
-- `capped` exists while there is any cap. `filling` has the caps whose counts are not whole yet,
-- `counted` the tasks that these have counted, `fill` and `fill_lanes` how far the slices have come.
local function caps_of(version)
  return cjson.decode(redis.call('HGET', key('limits:' .. version), 'backlogs') or '{}')
end

local function forget_counts(cap)
  for _, field in ipairs(redis.call('HKEYS', key('backlog:' .. cap))) do
    redis.call('UNLINK', key('sheddable:' .. field))
  end
  redis.call('UNLINK', key('backlog:' .. cap))
end

local function fill_anew(caps)
  redis.call('UNLINK', key('counted'), key('fill'), key('fill_lanes'))
  if redis.call('HLEN', key('message')) == redis.call('HLEN', key('lease')) then
    redis.call('DEL', key('filling'))
    return
  end
  for _, cap in ipairs(caps) do
    redis.call('SADD', key('filling'), cap)
  end
  for _, cap in ipairs(redis.call('SMEMBERS', key('filling'))) do
    forget_counts(cap)
  end
end

local function change_caps(before, after)
  local old, new, fresh = caps_of(before), caps_of(after), {}
  for cap, counted in pairs(old) do
    if new[cap] ~= counted then
      forget_counts(cap)
      redis.call('SREM', key('filling'), cap)
    end
  end
  for cap, counted in pairs(new) do
    if old[cap] ~= counted then
      fresh[#fresh + 1] = cap
    end
  end
  if fresh[1] then
    fill_anew(fresh)
  end
  if redis.call('EXISTS', key('filling')) == 0 then
    redis.call('UNLINK', key('counted'), key('fill'), key('fill_lanes'))
  end
  if next(new) then
    redis.call('SET', key('capped'), '1')
  else
    redis.call('DEL', key('capped'))
  end
end
