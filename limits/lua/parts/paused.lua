-- A scope that somebody paused admits nothing until it is resumed. Nobody knows when that will be:
-- whoever asks is told to look again after a while, and resuming wakes those who wait.
local paused = {unit = 'requests'}

function paused.set(record, by)
  record.fields.paused_by = by
  record.fields.paused_at = record.fields.paused_at or whole(now)
end

-- Whether there was one to lift.
function paused.lift(record)
  local was_paused = record.fields.paused_by ~= nil
  record.fields.paused_by, record.fields.paused_at = nil, nil
  return was_paused
end

function paused.name(record)
  return record.fields.paused_by and 'paused'
end

function paused.allow_at()
  return math.huge
end

function paused.spent_at(record)
  return record.fields.paused_by and math.huge or 0
end
