-- include: fair_queue.lua
-- include: alarm.lua
--
-- The lanes that may be tried now. Most are tried in the call that made them ready, and those are
-- never stored.
local ready = {queue = fair_queue.new('ready')}

function ready.enter(name, priority, cost)
  fair_queue.enter(ready.queue, name, fair_queue.score(ready.queue, priority, cost))
end

-- Takes the best lane's name, or nil.
function ready.take()
  local name, score = fair_queue.peek(ready.queue)
  if name then
    fair_queue.leave(ready.queue, name)
  end
  return name, score
end

function ready.tick(score)
  fair_queue.tick(ready.queue, fair_queue.priority_of(score), score)
end

function ready.holds(name)
  return fair_queue.holds(ready.queue, name)
end

function ready.leave(name)
  fair_queue.leave(ready.queue, name)
end

function ready.save()
  fair_queue.save(ready.queue)
  ready.left = fair_queue.peek(ready.queue)
  if ready.left then
    alarm.set(now)
  end
end
