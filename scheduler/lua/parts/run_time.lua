-- include: lease.lua
--
-- How long tasks run, from claim to end: a running mean for each service, and one for all (`*`), of about the
-- last RUNS. A run of a second or more is always noted, because such ends are rare; of the
-- shorter ones each SAMPLED-th, by its fence, which stands for as many, so most ends pay nothing for it.
local LONG_RUN = 1000000
local SAMPLED = 16
local RUNS = 256
local ALL = '*'

local function mean_with(record, ran, weight)
  local mean, runs = string.match(record or '0 0', '^(%d+) (%d+)$')
  runs = math.min(tonumber(runs) + weight, RUNS)
  return whole(mean + (ran - mean) * weight / runs) .. ' ' .. whole(runs)
end

local function note_run_time(self)
  local ran = math.max(0, now - self.started_at)
  local weight = ran >= LONG_RUN and 1 or self.fence % SAMPLED == 0 and SAMPLED
  if weight then
    local service = string.match(self.lane, '^%d\31[^\31]*\31([^\31]*)')
    local stored = redis.call('HMGET', key('run_times'), service, ALL)
    redis.call('HSET', key('run_times'), service, mean_with(stored[1], ran, weight), ALL, mean_with(stored[2], ran, weight))
  end
end
