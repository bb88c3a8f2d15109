-- include: verdict.lua
-- include on demand: retry_budget.lua
-- include: lease.lua
--
-- Tells the service of a released task how the task has ended. A probe of its breaker that never
-- started, or went back, gives its place to another.
local SERVICE = '^%d\31[^\31]*\31([^\31]*)'

-- A retry is known by its name, the task's id with the number of the retry. (A replacement has a 0 there.)
local RETRIED = '~[1-9]%d*%.%d+$'

local function report_outcome(self, how)
  verdict.report(string.match(self.lane, SERVICE), how, self.task, self.released_at)
end

-- The first attempt of a task has ended: what retries of the service are measured by.
local function count_first_attempt(self)
  if not string.find(self.task, RETRIED) then
    load_retry_budget().count_first(string.match(self.lane, SERVICE))
  end
end
