-- include: fair_queue.lua
-- include: alarm.lua
--
-- The lanes that may be tried now. Most are tried in the call that made them ready, and those are
-- never stored.
local ready = {queue = fair_queue.new('ready')}

-- Most are alone here, too: who is, is the next, and needs no place in the queue unless another one comes.
local function enqueue_next()
  if ready.next then
    fair_queue.enter(ready.queue, ready.next, fair_queue.score(ready.queue, ready.priority, ready.cost))
    ready.next = nil
  end
end

function ready.enter(name, priority, cost)
  enqueue_next()
  ready.next, ready.priority, ready.cost = name, priority, cost
  if fair_queue.peek(ready.queue) then
    enqueue_next()
  end
end

-- Takes the best lane's name, or nil.
function ready.take()
  local name, score = ready.next, nil
  if name then
    ready.next = nil
    return name
  end
  name, score = fair_queue.peek(ready.queue)
  if name then
    fair_queue.leave(ready.queue, name)
    fair_queue.tick(ready.queue, fair_queue.priority_of(score), score)
  end
  return name
end

function ready.holds(name)
  enqueue_next()
  return fair_queue.holds(ready.queue, name)
end

function ready.leave(name)
  enqueue_next()
  fair_queue.leave(ready.queue, name)
end

function ready.save()
  enqueue_next()
  fair_queue.save(ready.queue)
  ready.left = fair_queue.peek(ready.queue)
  if ready.left then
    alarm.set(now)
  end
end
