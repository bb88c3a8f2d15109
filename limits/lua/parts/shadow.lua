-- A limit in the shadow counts like any other of its kind and never holds work back. Where it would
-- have, that is counted, under a key of its own, for a week after the last time.
--
-- It charges what it would have refused, because that work runs. But a bucket owes no more than it
-- holds, or one busy day would leave it empty for the next.
local SHADOWED_FOR = 604800000000
local shadow = {}

local function shadowed_key(limit_key)
  return key('shadowed:' .. string.sub(limit_key, #key('limit:') + 1))
end

local function counting(kind, charge)
  return charge and function(rule, state, ...)
    local would_refuse = kind.allow_at(rule, state, ...) > now
    if would_refuse then
      state.shadowed = (state.shadowed or 0) + 1
    end
    if not (would_refuse and kind.is_bucket) then
      charge(rule, state, ...)
    end
  end
end

function shadow.of(kind)
  local of = {is_shadow = true, charge = counting(kind, kind.charge), hold = counting(kind, kind.hold)}
  function of.allow_at()
    return now
  end
  function of.save(rule, state, limit_key)
    if kind.save then
      kind.save(rule, state, limit_key)
    end
    if state.shadowed then
      redis.call('INCRBY', shadowed_key(limit_key), state.shadowed)
      redis.call('PEXPIRE', shadowed_key(limit_key), ttl_until(now + SHADOWED_FOR))
    end
  end
  return setmetatable(of, {__index = kind})
end

-- How often it would have refused.
function shadow.times(limit)
  return limit.rule.kind.is_shadow and tonumber(redis.call('GET', shadowed_key(limit.key)) or 0) or 0
end
