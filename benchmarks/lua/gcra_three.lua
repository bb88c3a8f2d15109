-- The same for three buckets, all charged or none. What `HierarchicalLimiter` is measured against.
--
-- KEYS buckets: three
-- ARGV units, then capacity and interval in microseconds of each bucket
--
-- Returns {allowed, refusing, retry_after_us, reset_after_us}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local units, charged = tonumber(ARGV[1]), {}
for i = 1, 3 do
  local capacity, interval = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local arrival = math.max(tonumber(redis.call('GET', KEYS[i]) or now), now)
  charged[i] = arrival + units * interval
  local allow_at = charged[i] - capacity * interval
  if allow_at > now then
    return {0, i, allow_at - now, arrival - now}
  end
end
for i = 1, 3 do
  redis.call('SET', KEYS[i], string.format('%.0f', charged[i]), 'PX', string.format('%.0f', math.ceil((charged[i] - now) / 1000)))
end
return {1, 0, 0, charged[1] - now}
