-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Lifts the pause of a scope; where it has none, its closure and what its service said. Whoever waits
-- is tried at once, and a dispatcher that sleeps is woken.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV scope: its name, such as service:llm_api
--
-- Returns {now_us, {scope, field, value, ...}}: the scope's record, of what holds it still.
local BELL, WAKES = key('bell'), key('wakes')
local record = regulator.of(scope)
if not paused.lift(record) then
  closure.lift(record)
  quotas.requests.lift(record)
  quotas.tokens.lift(record)
end
regulator.save(record)
-- Narrower gates may sleep until this one was to open, so each is tried.
redis.call('ZUNIONSTORE', WAKES, 1, WAKES, 'WEIGHTS', 0)
if redis.call('LLEN', BELL) == 0 then
  redis.call('RPUSH', BELL, '1')
end
return {now, reply_of(record)}
