-- include: advance.lua
-- include: forecast.lua
--
-- Where a task is, and what holds it: the reply that explain.lua describes. Changes nothing.
local function in_us(time)
  return time == math.huge and '-1' or whole(time - now)
end

-- A slot opens when work ends. The time at which it would lapse says nothing of that.
local function when_known(rule, allow_at)
  local is_slots = rule.kind.one_each and rule.kind.remaining and not rule.kind.is_regulator
  return is_slots and not rule.again_at and math.huge or allow_at
end

local function standing(task, lane_name, weight, tokens)
  local held = lease.of(task)
  if held then
    local is_releasing = redis.call('ZSCORE', outbox.releasing, outbox.entry(task, held.fence))
    return {lease.is_claimed(held) and 'running' or is_releasing and 'releasing' or 'released', 0, '', '', 0, -1, 0}
  end
  definitions.use_current()
  local element = lane.element(weight, tokens, task)
  local due = redis.call('ZSCORE', key('delayed'), lane.entry(lane_name, element))
  if due then
    local wait = whole(math.max(0, due - now))
    return {'delayed', 0, '', '', wait, wait, 0}
  end
  local self = lane.at(lane_name)
  local position = redis.call('LPOS', self.key, element)
  if not position then
    return {'unknown', 0, '', '', 0, -1, 0}
  end
  local cost = lane.cost(element)
  cost.priority = self.priority
  local start = in_us(forecast.start(self, position, cost))
  local allow_at, limit = ledger.last_to_allow(self.scopes, cost)
  local reply = {'waiting', position, '', '', 0, start, 0, unpack(history.of(lane_name))}
  if limit then
    reply[3], reply[4], reply[5] = limit.scope, limit.rule.id, in_us(when_known(limit.rule, allow_at))
    reply[7] = ledger.is_reserved(limit, cost) and limit.rule.reserved_for or 0
  end
  return reply
end
