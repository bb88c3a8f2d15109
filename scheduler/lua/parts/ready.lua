-- include: fair_queue.lua
-- include: alarm.lua
--
-- The lanes that may be tried now. Most are tried in the call that made them ready, so they stand
-- in this call's hand; what is left when the call ends is stored.
local ready = {queue = fair_queue.new('ready'), hand = {}}

function ready.enter(name, priority, cost)
  ready.hand[#ready.hand + 1] = {name = name, score = fair_queue.score(ready.queue, priority, cost)}
end

local function best_in_hand()
  local best
  for i, each in ipairs(ready.hand) do
    if not best or fair_queue.comes_before(each.score, each.name, ready.hand[best].score, ready.hand[best].name) then
      best = i
    end
  end
  return best
end

-- Takes the best lane's name, or nil.
function ready.take()
  local stored, stored_score = fair_queue.peek(ready.queue)
  local position = best_in_hand()
  local held = ready.hand[position]
  if held and not (stored and fair_queue.comes_before(stored_score, stored, held.score, held.name)) then
    table.remove(ready.hand, position)
    return held.name, held.score
  end
  if stored then
    fair_queue.leave(ready.queue, stored)
    return stored, stored_score
  end
end

function ready.tick(priority, score)
  fair_queue.tick(ready.queue, priority, score)
end

local function position_in_hand(name)
  for i, each in ipairs(ready.hand) do
    if each.name == name then
      return i
    end
  end
end

function ready.holds(name)
  return position_in_hand(name) or fair_queue.holds(ready.queue, name)
end

function ready.leave(name)
  local position = position_in_hand(name)
  if position then
    table.remove(ready.hand, position)
  else
    fair_queue.leave(ready.queue, name)
  end
end

function ready.save()
  for _, each in ipairs(ready.hand) do
    fair_queue.enter(ready.queue, each.name, each.score)
  end
  ready.hand = {}
  fair_queue.save(ready.queue)
  ready.left = fair_queue.peek(ready.queue)
  if ready.left then
    alarm.set(now)
  end
end
