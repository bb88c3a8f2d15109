-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Says how a service does: what its breaker and its adaptive share have stored. Changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV service: its name
--
-- Returns {now_us, {scope, field, value, ...}, cells, {holder, deadline, ...}}: the record of its scope;
-- what ended in the window, as parts/verdict.lua packs it; the calls that probe.
local scope = string.format('service:%s', service)
local cells = redis.call('GET', key('calls:' .. scope)) or ''
local probes = redis.call('ZRANGE', key('probes:' .. scope), 0, -1, 'WITHSCORES')
return {now, reply_of(regulator.of(scope)), cells, probes}
