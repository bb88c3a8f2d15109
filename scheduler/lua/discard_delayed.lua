-- include: clock.lua
-- include: keys.lua
-- include: lane.lua
-- include: capped.lua
-- include: memory.lua
--
-- Discards delayed tasks, and tells nobody. One whose time has come meanwhile is left alone.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV entries...: the members of `delayed`
--
-- Returns how many of them were there.
local gone = 0
definitions.use_current()
for _, entry in ipairs(entries) do
  if redis.call('ZREM', key('delayed'), entry) == 1 then
    local lane_name, element = lane.from_entry(entry)
    local each = lane.cost(element)
    local message = memory.forget(each.task, lane_name, each.weight, each.tokens_text)
    capped.leave(lane.at(lane_name).scopes, lane_name, element, each.task, #message)
    gone = gone + 1
  end
end
capped.save()
return gone
