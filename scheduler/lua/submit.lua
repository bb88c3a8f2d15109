-- include: clock.lua
-- include: keys.lua
-- include: memory.lua
--
-- Accepts a task, once. A producer that never saw the reply and sends again changes nothing: the
-- task is known by its id while it is here, and by its token for a while after it has gone.
-- If nothing waits ahead, the limits allow and a worker can take it, it is released in this call.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV task: the task's id, with its attempt if it is not the first
-- ARGV token: 8 bytes, new for each submit, the same when a submit is repeated
-- ARGV lane_name: the lane
-- ARGV weight: request units
-- ARGV tokens: token units
-- ARGV due_us: not before this time; '' for at once
-- ARGV max_wait_us: how long it may wait once it is due; '' for as long as it takes
-- ARGV template: the envelope with its two holes
-- ARGV claim_within_us: how long a release may stay unclaimed
--
-- Returns {status, ...}: 'released', 'waiting', 'delayed', 'known', or
-- {'too_large', units, capacity, scope, limit}. Only 'known' and 'too_large' store nothing.
local BUDGET = 4

if redis.call('HEXISTS', key('message'), task) == 1 or memory.knows(token) then
  return {'known'}
end

-- A task that joins others in their lane needs no more than this: they are tried before it.
local plain = weight == '1' and tokens == '0' and due_us == '' and max_wait_us == ''
if plain and redis.call('EXISTS', key('lane:' .. lane_name)) == 1 then
  redis.call('HSET', key('message'), task, token .. template)
  redis.call('RPUSH', key('lane:' .. lane_name), weight .. '\31' .. tokens .. '\31' .. task)
  return {'waiting'}
end

-- include: advance.lua
definitions.use_current()
local target = lane.at(lane_name)
local cost = {requests = tonumber(weight), tokens = tonumber(tokens)}
local limit = ledger.too_small(target.scopes, cost)
if limit then
  return {'too_large', whole(cost[limit.rule.unit]), whole(limit.rule.capacity), limit.scope, limit.rule.id}
end

redis.call('HSET', key('message'), task, token .. template)
local element = lane.element(weight, tokens, task)
local entry = lane.entry(lane_name, element)
local due = math.max(now, tonumber(due_us) or now)
if max_wait_us ~= '' then
  redis.call('ZADD', key('deadlines'), whole(due + tonumber(max_wait_us)), entry)
  alarm.set(due + tonumber(max_wait_us))
end
if due > now then
  redis.call('ZADD', key('delayed'), whole(due), entry)
  alarm.set(due)
  alarm.save()
  return {'delayed'}
end

if lane.append(target, element) then
  advance(BUDGET, tonumber(claim_within_us))
end
save()
return {release.made[task] and 'released' or 'waiting'}
