-- include: verdict.lua
-- include: lease.lua
--
-- Tells the service of a released task how the task has ended. A probe of its breaker that never
-- started, or went back, gives its place to another.
local SERVICE = '^%d\31[^\31]*\31([^\31]*)'

local function report_outcome(self, how)
  verdict.report(string.match(self.lane, SERVICE), how, self.task, self.released_at)
end
