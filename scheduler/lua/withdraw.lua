-- include: clock.lua
-- include: keys.lua
-- include: unqueue.lua
-- include: unclaimed.lua
--
-- Takes a task out that no worker has seen: it waits, is delayed, or lies in the broker's queue. There
-- it is taken from the queue and out of its lease in this one step, and what it was charged is given
-- back; a worker that pops in the same moment has the message or has not. Out of a broker elsewhere nothing
-- can be taken: there the message stays, and is dropped by the worker that it comes to.
--
-- With a reason, the task's message stays among the `expired` until its caller has been told, so that
-- whoever dies after this call leaves nobody waiting.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV lane_name: the lane
-- ARGV weight: request units
-- ARGV tokens: token units
-- ARGV reason: what the caller is to be told; '' if there is nothing to tell
-- ARGV claim_within_us: how long the releases made here may stay unclaimed
--
-- Returns 'cancelled', 'released' (too late: a worker has it), or 'unknown' (not here, or not in that
-- lane).
local BUDGET = 4
if redis.call('HEXISTS', key('message'), task) == 0 then
  return 'unknown'
end

local function take_back(held)
  if lease.is_claimed(held) or not unclaimed.take_back(held, lane.at(held.lane).queue) then
    return nil
  end
  lease.close(held, false)
  lane.touch_gates(lane.at(held.lane))
  return memory.forget(task, held.lane, whole(held.requests), whole(held.tokens))
end

definitions.use_current()
local held, message = lease.of(task), nil
if held then
  message = take_back(held)
else
  message = unqueue(task, lane_name, weight, tokens)
end
if not message then
  return held and 'released' or 'unknown'
end
if reason ~= '' then
  redis.call('HSET', key('expired'), task, reason .. '\30' .. message)
end
advance(held and BUDGET or 0, tonumber(claim_within_us))
save()
return 'cancelled'
