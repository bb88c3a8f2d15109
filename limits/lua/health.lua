-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Says how a service does: what its breaker, its adaptive share and its retry budget have stored. Changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV service: its name
--
-- Returns {now_us, {scope, field, value, ...}, cells, {holder, deadline, ...}, cells}: the record of its scope;
-- what ended in the breaker's window, as parts/tally.lua packs it; the calls that probe; first attempts and
-- retries in the budget's window, packed the same way.
local scope = string.format('service:%s', service)
local cells = redis.call('GET', key('calls:' .. scope)) or ''
local probes = redis.call('ZRANGE', key('probes:' .. scope), 0, -1, 'WITHSCORES')
local retries = redis.call('GET', key('retries:' .. service)) or ''
return {now, reply_of(regulator.of(scope)), cells, probes, retries}
