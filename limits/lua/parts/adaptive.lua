-- The share of a scope's limits that its service really takes, as `AdaptiveShare` in
-- limits/adaptive.py decides. This part is what admission asks of it; parts/verdict.lua has what an
-- outcome does to it. It refuses nothing by itself, and the whole limit has no field here.
--
-- Of the record of its scope it owns `factor`, `cut_at` and `seen_at`.
local ADAPTIVE_FORGOTTEN = 86400000000
local KEPT_BY = 3600000000
local adaptive = {unit = 'requests'}

-- Its verbs are made when something is held back for the first time in a call: a realm where nothing
-- is pays for none of them.
function adaptive.assemble()
  function adaptive.name()
    return nil
  end

  function adaptive.allow_at()
    return now
  end

  function adaptive.lift(record)
    record.fields.factor, record.fields.cut_at, record.fields.seen_at = nil, nil, nil
  end

  -- How much of the limits may be used; nil for all.
  function adaptive.share(record)
    local fields = record.fields
    if fields.factor and now >= tonumber(fields.seen_at) + ADAPTIVE_FORGOTTEN then
      adaptive.lift(record)
    end
    return tonumber(fields.factor)
  end

  -- Rounded up to the hour, because each success would move it.
  function adaptive.spent_at(record)
    local seen_at = record.fields.seen_at
    return seen_at and math.ceil((tonumber(seen_at) + ADAPTIVE_FORGOTTEN) / KEPT_BY) * KEPT_BY or 0
  end
end
