-- A breaker or an adaptive share that was switched off holds nothing back any more: nobody would ever
-- report how its probes ended.
local FIELDS_OF = {
  breaker = {'circuit', 'circuit_since', 'circuit_until', 'trips', 'passed', 'probes', 'ramp', 'remembered_until'},
  adaptive = {'factor', 'cut_at', 'seen_at'},
}

local function retire_governors(published)
  for _, scope in ipairs(redis.call('ZRANGE', key('regulators'), 0, -1)) do
    local service = string.match(scope, '^service:(.*)$')
    local governors = service and cjson.decode(redis.call('HGET', published, 'governors:' .. service) or '{}')
    for name, fields in pairs(service and FIELDS_OF or {}) do
      if not governors[name] then
        redis.call('HDEL', key('regulator:' .. scope), unpack(fields))
      end
    end
  end
end
