-- include: scopes.lua
-- include on demand: backlog.lua
--
-- Tells the counts of what waits who comes and goes, where a scope of the task has a cap. Elsewhere
-- that costs nothing: the counts are not even made.
local capped = {}

function capped.counts()
  capped.by = capped.by or load_backlog()
  return capped.by
end

-- A task waits again, in its lane.
function capped.return_to(own, task)
  if own.capped then
    capped.counts().enter(own.capped, task, redis.call('HSTRLEN', key('message'), task))
  end
end

-- A task waits no more: of this lane, with this element, and so many bytes of message.
function capped.leave(own, lane_name, element, task, bytes)
  if own.capped then
    capped.counts().leave(own.capped, lane_name, element, task, bytes)
  end
end

function capped.save()
  if capped.by then
    capped.by.save()
  end
end
