-- include: clock.lua
-- include: keys.lua
-- include: advance.lua
-- include: forecast.lua
-- include: capped.lua
--
-- Says what new work of a lane would meet. Changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV lane_name: the lane, whether or not it exists
-- ARGV service: whose breaker is asked
-- ARGV weight: request units
-- ARGV tokens: token units
--
-- Returns {wait_us, opens_us, backlog}: microseconds until it would be released, as forecast.lua says, -1 if nobody
-- knows; microseconds until the breaker lets probes through, 0 if it is not open; how
-- full the fullest backlog of its scopes is, as text.
definitions.use_current()
local self = lane.at(lane_name)
local cost = {requests = tonumber(weight), tokens = tonumber(tokens), priority = self.priority}
local start = forecast.start(self, redis.call('LLEN', self.key), cost)

local fields = regulated.any and regulated.by.of('service:' .. service).fields or {}
local reopens_at = fields.circuit == 'open' and tonumber(fields.circuit_until) or now
local fullest = 0
for _, scope in ipairs(self.scopes.capped or {}) do
  fullest = math.max(fullest, capped.counts().pressure(scope))
end
return {start == math.huge and '-1' or whole(start - now), whole(math.max(0, reopens_at - now)), tostring(fullest)}
