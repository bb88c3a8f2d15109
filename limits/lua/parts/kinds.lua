-- include: keys.lua
-- include on demand: window.lua
-- include on demand: bucket.lua
-- include on demand: in_flight.lua
-- include on demand: shadow.lua
--
-- The kinds of limits by their names. A kind is a table of verbs, made when a call meets its first limit of that kind.
--
-- A limit travels as scope, id, kind, unit, capacity, period, refill.
local PACKED_LIMIT = '<ssssddd'
local kinds = {}
local loaders = {window = load_window, bucket = load_bucket, in_flight = load_in_flight}

local function kind_of(name)
  local kind = kinds[name]
  if not kind then
    local load = loaders[name]
    kind = load and load() or load_shadow().of(kind_of(string.match(name, '^shadow (.+)$')))
    kinds[name] = kind
  end
  return kind
end

local function limit_key(scope, id)
  return realm .. ':limit:' .. scope .. ':' .. id
end
