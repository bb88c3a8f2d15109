-- The least that an exact token bucket can do: one GCRA decision by the server's clock. What `Limiter` is measured against.
--
-- KEYS bucket
-- ARGV capacity, interval in microseconds, units
--
-- Returns {allowed, remaining, retry_after_us, reset_after_us}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local capacity, interval, units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local charged = arrival + units * interval
local allow_at = charged - capacity * interval
if allow_at > now then
  return {0, 0, allow_at - now, arrival - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', charged), 'PX', string.format('%.0f', math.ceil((charged - now) / 1000)))
return {1, math.floor((capacity * interval - (charged - now)) / interval), 0, charged - now}
