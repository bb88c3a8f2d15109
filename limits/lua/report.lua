-- include: clock.lua
-- include: keys.lua
-- include: verdict.lua
--
-- A call of a service has ended, and this is how: its breaker and its adaptive share count it. A
-- report that comes twice, because redis-py repeats a command whose reply was lost, counts twice
-- while the breaker is closed; a probe counts once.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV service: its name
-- ARGV outcome: 'ok', 'throttled', 'failed', or 'open' for an end that says nothing of the service
-- ARGV holder: who was admitted, as acquire.lua was told
-- ARGV admitted_at_us: when, as acquire.lua said
--
-- Returns nothing. What it counts expires when it has left the window; what holds the service back
-- as parts/breaker.lua and parts/adaptive.lua say.
definitions.use_current()
verdict.report(service, outcome, holder, tonumber(admitted_at_us))
