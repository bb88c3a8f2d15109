-- Decides what time it is, in integer microseconds: the server's own clock, unless a test or the
-- simulator passed a time. A passed time may run slower than the server's, and nothing may expire
-- before its time, so keys then live an hour longer.
local VIRTUAL_TTL_MS = 3600000
local now
local virtual = now_us ~= ''

if virtual then
  now = tonumber(now_us)
else
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

-- Most numbers that a call writes are times, the same ones again and again.
local texts = {}

local function whole(number)
  local text = texts[number]
  if not text then
    text = string.format('%.0f', number)
    texts[number] = text
  end
  return text
end

-- How long a key may live that is of no use after `time`.
local function ttl_until(time)
  local ttl_ms = math.max(0, math.ceil((time - now) / 1000)) + 1
  return whole(virtual and ttl_ms + VIRTUAL_TTL_MS or ttl_ms)
end
