-- include: clock.lua
-- include: keys.lua
-- include: regulator_reply.lua
--
-- Says what scopes are held by. Changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV scopes...: their names; none for all that are held
--
-- Returns {now_us, {scope, field, value, ...}, ...}: the record of each scope, in the order of the names.
local names = #scopes > 0 and scopes or redis.call('ZRANGEBYSCORE', key('regulators'), '(' .. whole(now), '+inf')
local replies = {now}
if #scopes == 0 then
  table.sort(names)
end
for _, name in ipairs(names) do
  replies[#replies + 1] = reply_of(regulator.of(name))
end
return replies
