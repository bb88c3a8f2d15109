-- include: ledger.lua
-- include: room.lua
--
-- The cap on what is released to a broker queue and not yet started. It is what the queue's workers
-- can take, so the broker's queue stays short: the order is decided here, at the latest moment.
-- A start frees a place at once; the time given to a refused lane is only a safety net.
local LOOK_AGAIN = 1000000
local depth = {one_each = true, scopes = {}}

kinds.depth = depth

function depth.of(queue)
  local scope = depth.scopes[queue]
  if not scope then
    local rule = ledger.rule('ahead', 'depth', room.ahead_of(queue), 0, 0, 'requests')
    scope = {name = 'queue:' .. queue, limits = {{scope = 'queue:' .. queue, rule = rule, key = queue}}}
    depth.scopes[queue] = scope
  end
  return scope
end

-- How many more may be released to the queue now.
function depth.room(queue)
  return room.ahead_of(queue) - (ledger.states[queue] or depth.load(queue)).unclaimed
end

function depth.load(queue)
  return {unclaimed = tonumber(redis.call('HGET', key('unclaimed'), queue) or 0)}
end

function depth.allow_at(rule, state)
  return state.unclaimed < rule.capacity and now or now + LOOK_AGAIN
end

function depth.hold(rule, state)
  state.unclaimed = state.unclaimed + 1
end

function depth.start(rule, state)
  state.unclaimed = math.max(0, state.unclaimed - 1)
end

depth.unhold = depth.start

function depth.save(rule, state, queue)
  if state.unclaimed == 0 then
    redis.call('HDEL', key('unclaimed'), queue)
  else
    redis.call('HSET', key('unclaimed'), queue, whole(state.unclaimed))
  end
end
