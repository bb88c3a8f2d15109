-- include: clock.lua
-- include: keys.lua
-- include: advance.lua
--
-- A worker says that it lives, and how much it can take from each of its queues. The sum over the
-- workers that live bounds what is released to a queue and not started. When the last one falls
-- silent the figure stays as it was, until somebody else attends.
--
-- Half of what the smallest of them can take, but less than a claim attempts, is the queue's
-- `refill`: claims let so many places come free before they fill them, see claim.lua. It is one for as long as what a
-- worker had that fell silent may lie with it: those places are taken, and the others may be fewer than that.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV worker: its node name
-- ARGV silence_us: how long it counts as living
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
-- ARGV presence: numbers about the worker, for `demand.lua`; '' says nothing
-- ARGV shares...: broker queue, tasks that the worker can take from it; 0 leaves
--
-- Returns the number of queues.
local BUDGET = 32
local MOST_REFILLED = 4
definitions.use_current()

local function living(workers)
  local sum, refill, expired = 0, MOST_REFILLED, {}
  for i = 1, #workers, 2 do
    local until_us, slots = string.match(workers[i + 1], '^(%d+) (%d+)$')
    if tonumber(until_us) > now then
      sum, refill = sum + tonumber(slots), math.min(refill, math.floor(tonumber(slots) / 2))
    elseif until_us + claim_within_us > now then
      refill = 1
    else
      expired[#expired + 1] = workers[i]
    end
  end
  return sum, math.max(1, refill), expired
end

local function forget_silent(crew)
  local members = redis.call('HGETALL', crew)
  for i = 1, #members, 2 do
    if tonumber(string.match(members[i + 1], '^%d+')) <= now then
      redis.call('HDEL', crew, members[i])
    end
  end
end

local function be_present(crew)
  local record, serves = whole(now + tonumber(silence_us)) .. ' ' .. presence, false
  for i = 1, #shares, 2 do
    if tonumber(shares[i + 1]) > 0 then
      record, serves = record .. '\31' .. shares[i], true
    end
  end
  if serves then
    redis.call('HSET', crew, worker, record)
  else
    redis.call('HDEL', crew, worker)
  end
  forget_silent(crew)
end

if presence ~= '' then
  be_present(key('crew'))
end
for i = 1, #shares, 2 do
  local queue, slots = shares[i], tonumber(shares[i + 1])
  local crew = key('workers:' .. queue)
  if slots > 0 then
    redis.call('HSET', crew, worker, whole(now + tonumber(silence_us)) .. ' ' .. whole(slots))
  else
    redis.call('HDEL', crew, worker)
  end
  local sum, refill, expired = living(redis.call('HGETALL', crew))
  if #expired > 0 then
    redis.call('HDEL', crew, unpack(expired))
  end
  if sum > 0 then
    redis.call('HSET', key('ahead'), queue, whole(sum))
    redis.call('HSET', key('refill'), queue, whole(refill))
  end
  for _, each in ipairs(gate.of(depth.of(queue))) do
    lane.touch(each)
  end
end
-- If nobody dispatched for a while, work that has waited too long is taken out first.
if redis.call('ZCOUNT', key('deadlines'), '-inf', whole(now)) > 0 then
  alarm.set(now)
else
  advance(BUDGET, tonumber(claim_within_us))
end
save()
return #shares / 2
