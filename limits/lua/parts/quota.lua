-- What a service says that it has left: so many units until it counts anew. Each admission takes
-- from it, nothing adds to it, and it is forgotten at its reset, so it holds work back for as long as
-- the service would have refused it, and no longer.
--
-- A service may state several (a minute's and an hour's), and a later word never loosens an earlier
-- one. So what is kept is a staircase: one statement for each reset, the later the reset, the more is
-- left; whatever another one implies is dropped. A field of its own for each unit:
-- `left@reset left@reset`, the first reset first.
local STATEMENT = '(%d+)@(%d+)'
local MOST = 4

local function quota_in(unit)
  local FIELD = unit .. '_left'
  local quota = {unit = unit}

  local function read(record)
    local statements = {}
    for left, resets in string.gmatch(record.fields[FIELD] or '', STATEMENT) do
      if tonumber(resets) > now then
        statements[#statements + 1] = {left = tonumber(left), resets = tonumber(resets)}
      end
    end
    return statements
  end

  local function write(record, statements)
    local texts = {}
    for i, statement in ipairs(statements) do
      texts[i] = whole(statement.left) .. '@' .. whole(statement.resets)
    end
    record.fields[FIELD] = texts[1] and table.concat(texts, ' ')
  end

  function quota.set(record, left, resets)
    local kept = {{left = left, resets = resets}}
    for _, each in ipairs(read(record)) do
      if each.left <= left and each.resets >= resets then
        return
      end
      if each.left < left or each.resets > resets then
        kept[#kept + 1] = each
      end
    end
    table.sort(kept, function(one, other)
      return one.resets < other.resets
    end)
    -- The last one leaves the most: it is the one to be told again.
    kept[MOST + 1] = nil
    write(record, kept)
  end

  function quota.lift(record)
    record.fields[FIELD] = nil
  end

  function quota.name(record)
    return #read(record) > 0 and unit .. '/observed' or nil
  end

  function quota.spent_at(record)
    local last = 0
    for _, statement in ipairs(read(record)) do
      last = math.max(last, statement.resets)
    end
    return last
  end

  function quota.allow_at(_, record, units)
    local allow_at = now
    for _, statement in ipairs(read(record)) do
      if statement.left < units then
        allow_at = math.max(allow_at, statement.resets)
      end
    end
    return allow_at
  end

  function quota.charge(_, record, units)
    local statements = read(record)
    for _, statement in ipairs(statements) do
      statement.left = math.max(0, statement.left - units)
    end
    write(record, statements)
  end

  quota.hold = quota.charge
  return quota
end

local quotas = {requests = quota_in('requests'), tokens = quota_in('tokens')}
