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

-- A task waits from now on, in its lane or for its time. `bytes` is the size of its message; nil where
-- that is to be looked up.
function capped.enter(own, task, bytes)
  if own.capped then
    capped.counts().enter(own.capped, task, bytes or redis.call('HSTRLEN', key('message'), task))
  end
end

-- A task waits no more.
function capped.leave(own, task, bytes, lane_name)
  if own.capped then
    capped.counts().leave(own.capped, task, bytes, lane_name)
  end
end

function capped.save()
  if capped.by then
    capped.by.save()
  end
end
