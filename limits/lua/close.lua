-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Closes a scope for a time, for everybody who shares it. A closure that ends later stays, so ten
-- calls that were under way and refused one after another close the scope once.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV scope: its name, such as service:llm_api
-- ARGV for_us: how long, in microseconds
-- ARGV reason: says why
--
-- Returns {now_us, {scope, field, value, ...}}: the scope's record. It expires when the scope has
-- been open for as long as its admissions ramp up.
local record = regulator.of(scope)
closure.set(record, now + tonumber(for_us), reason)
regulator.save(record)
return {now, reply_of(record)}
