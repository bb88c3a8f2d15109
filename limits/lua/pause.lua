-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Pauses a scope: whatever waits for it waits on, whoever asks is refused. A scope that is paused
-- stays so; who paused it last is remembered.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV scope: its name, such as service:llm_api
-- ARGV by: who pauses it; may be ''
--
-- Returns {now_us, {scope, field, value, ...}}: the scope's record. It does not expire.
local record = regulator.of(scope)
paused.set(record, by)
regulator.save(record)
return {now, reply_of(record)}
