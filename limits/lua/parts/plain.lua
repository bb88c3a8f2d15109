-- include: kinds.lua
--
-- Decides one call as parts/admission.lua does, if its limits alone have a say, which is nearly always. Says nothing
-- where something else has: a scope is held back, somebody waits in line, a limit is in the shadow, or the cost is
-- more than a limit ever holds. What it saves is the making of all that these cases need, half of the server's time.
local function plain(packed, cost, holder, deadline, behind)
  if redis.call('EXISTS', key('regulators'), key('line:' .. behind)) > 0 then
    return nil
  end
  local limits, latest, binding = {}, now, nil
  local at, position = 1, 0
  while at <= #packed do
    local scope, id, name, unit, capacity, period, refill, next = struct.unpack(PACKED_LIMIT, packed, at)
    local kind, units = kinds[name] or kind_of(name), cost[unit]
    at, position = next, position + 1
    if kind.is_shadow or units > capacity and not kind.one_each then
      return nil
    end
    if units > 0 then
      local limit = {
        kind = kind, key = limit_key(scope, id), capacity = capacity, period = period, refill = refill,
        units = units, position = position, state = nil,
      }
      limit.state = kind.load(limit.key, limit)
      limits[#limits + 1] = limit
      local allow_at = kind.allow_at(limit, limit.state, units)
      if allow_at > latest then
        latest, binding = allow_at, limit
      end
    end
  end
  local least = math.huge
  for i = 1, binding and 0 or #limits do
    local limit = limits[i]
    local kind, state = limit.kind, limit.state
    kind.charge(limit, state, limit.units, holder, deadline)
    if kind.save then
      kind.save(limit, state, limit.key)
    end
    local share = kind.remaining(limit, state) / limit.capacity
    if share < least then
      least, binding = share, limit
    end
  end
  if not binding then
    return {1, 0, 0, 0, 0, now}
  end
  local kind, state, allowed = binding.kind, binding.state, latest > now and 0 or 1
  return {allowed, binding.position, kind.remaining(binding, state), latest - now, kind.reset_at(binding, state) - now, now}
end
