-- include: clock.lua
-- include: keys.lua
-- include: unqueue.lua
--
-- Takes a task out that waits or is delayed. Nothing was charged for it, so nothing is given back.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt
-- ARGV lane_name: the lane
-- ARGV weight: request units
-- ARGV tokens: token units
--
-- Returns 'cancelled', 'released' (too late: a worker has it or will), or 'unknown' (not here, or not
-- in that lane).
if redis.call('HEXISTS', key('message'), task) == 0 then
  return 'unknown'
end
if redis.call('HEXISTS', key('lease'), task) == 1 then
  return 'released'
end
definitions.use_current()
if not unqueue(task, lane_name, weight, tokens) then
  return 'unknown'
end
save()
return 'cancelled'
