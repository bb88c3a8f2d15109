-- include: clock.lua
-- include: keys.lua
-- include: memory.lua
--
-- Accepts a task, once. A producer that never saw the reply and sends again changes nothing: the
-- task is known by its id while it is here, and by its token for a while after it has gone.
-- If nothing waits ahead, the limits allow and a worker can take it, it is released in this call. One that would have to
-- wait where there is no room is refused, and nothing is changed. One whose key waits already is coalesced into what waits, and
-- stores nothing: nobody may take that out between the look and the answer.
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
-- ARGV deadline_us: not after this time; '' for any time
-- ARGV continues: 1 if it goes on with work that was accepted before, so that it finds room everywhere; else 0
-- ARGV template: the envelope with its two holes, and with its key if it has one
-- ARGV claim_within_us: how long a release may stay unclaimed
--
-- Returns {status, ...}: 'released', 'waiting', 'delayed', 'known', 'expired' (accepted after its deadline),
-- {'too_large', units, capacity, scope, limit}, or {'full', scope, unit, waiting, cap, retry_us, block_us}: 'tasks' or
-- 'bytes', how much waits, how much may, when there may be room (-1 for never), and how long the submitter is to wait for it, or
-- {'coalesced', task}: what it was coalesced into. Only 'known', 'coalesced', 'too_large' and 'full' store nothing.
local BUDGET = 4

if redis.call('HEXISTS', key('message'), task) == 1 or memory.knows(token) then
  return {'known'}
end

local due = math.max(now, tonumber(due_us) or now)
local message = token .. struct.pack('<d', due) .. template
local under = continues ~= '1' and keyed.of(message)
local standing = under and keyed.is_always(under) and keyed.waiting(under, due)
if standing then
  return {'coalesced', standing}
end

-- A task that joins others in their lane needs no more than this: they are tried before it. The lane
-- counts once, and that there are caps counts twice.
local plain = not under and weight == '1' and tokens == '0' and due_us == '' and max_wait_us == '' and deadline_us == ''
local lane_key, caps = key('lane:' .. lane_name), key('capped')
local found = plain and redis.call('EXISTS', lane_key, caps, caps)
local element = weight .. '\31' .. tokens .. '\31' .. task
local function join()
  redis.call('HSET', key('message'), task, message)
  redis.call('RPUSH', lane_key, element)
  return {'waiting'}
end
if found == 1 then
  return join()
end

-- include: scopes.lua
-- include: capped.lua
definitions.use_current()
local group, own = scopes.of_lane(lane_name)
local function enter_backlog()
  if own.capped and continues == '1' then
    capped.counts().enter(own.capped, task, #message)
  elseif own.capped then
    capped.counts().enter_new(own.capped, lane_name, element, task, #message, due)
  end
end
if found == 3 and not (own.capped and capped.counts().full(own.capped, #message)) then
  enter_backlog()
  capped.save()
  return join()
end

-- include: charge.lua
-- include: envelope.lua
-- include: outbox.lua
local cost = {requests = tonumber(weight), tokens = tonumber(tokens), priority = group.priority}
local limit, capacity = ledger.too_small(own, cost)
if limit then
  return {'too_large', whole(cost[limit.rule.unit]), whole(capacity), limit.scope, limit.rule.id}
end

-- Whether nobody waits anywhere that the task would have to pass, nor may claim a turn there. Where
-- many gates have somebody waiting, that is not asked here.
local FEW_GATES = 16
local function nobody_is_before()
  if redis.call('EXISTS', key('ready'), key('turns'), key('lane:' .. lane_name)) > 0 then
    return false
  end
  local occupied = redis.call('ZRANGE', key('wakes'), 0, FEW_GATES - 1)
  for i = 1, #occupied do
    occupied[occupied[i]] = true
  end
  for _, scope in ipairs(own) do
    for _, each in ipairs(scope.limits) do
      if occupied[each.scope .. '|' .. each.rule.unit] then
        return false
      end
    end
  end
  return #occupied < FEW_GATES
end

local function release_at_once()
  local fence, deadline = whole(redis.call('INCR', key('fence'))), now + tonumber(claim_within_us)
  ledger.apply('hold', own, cost, task, lease.slot_until(deadline))
  ledger.save()
  lease.save({
    task = task, fence = fence, claimant = '', lane = lane_name, deadline = deadline, released_at = now,
    requests = cost.requests, tokens = cost.tokens, charged = lease.charged(own, cost),
  })
  redis.call('HSET', key('message'), task, message)
  if outbox.is_for(group.queue) then
    outbox.add(task, fence)
  else
    redis.call('LPUSH', group.queue, envelope(message, fence))
  end
end

local is_bounded = max_wait_us ~= '' or deadline_us ~= ''
local ends_at = math.min(due + (tonumber(max_wait_us) or math.huge), tonumber(deadline_us) or math.huge)
if due == now and not is_bounded and nobody_is_before() then
  local _, refusing = ledger.last_to_allow(own, cost)
  if not refusing then
    release_at_once()
    return {'released'}
  end
end

-- include: advance.lua
-- include on demand: overflow.lua
if ends_at <= now then
  redis.call('HSET', key('message'), task, message)
  redis.call('HSET', key('expired'), task, '\30' .. memory.forget(task, lane_name, weight, tokens))
  alarm.set(now)
  alarm.save()
  return {'expired'}
end
local refusal, has_shed
if own.capped and continues ~= '1' then
  refusal, has_shed = load_overflow().settle(lane.at(lane_name), cost, #message, due, under)
end
if refusal then
  return refusal
end
redis.call('HSET', key('message'), task, message)
if under then
  keyed.enter(under, due, task)
end
enter_backlog()
local entry = lane.entry(lane_name, element)
if is_bounded then
  redis.call('ZADD', key('deadlines'), whole(ends_at), entry)
  alarm.set(ends_at)
end
if due > now then
  redis.call('ZADD', key('delayed'), whole(due), entry)
  alarm.set(due)
  if has_shed then
    save()
  else
    alarm.save()
    capped.save()
  end
  return {'delayed'}
end

if lane.append(lane.at(lane_name), element) then
  advance(BUDGET, tonumber(claim_within_us))
end
save()
return {release.made[task] and 'released' or 'waiting'}
