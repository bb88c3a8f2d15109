-- include: definitions.lua
-- include: depth.lua
--
-- Whose limits concern the tasks of a lane. Its name says it: priority, queue, service, endpoint, loop
-- type, loop. A service of `*` stands for work that no limit concerns. Only scopes that have limits
-- are here, widest first, and the broker queue's comes last. Those that all loops have in common are one to the
-- ledger: `{scopes, limits}`, with the limits of all of them.
local GROUP = '^(' .. string.rep('[^\31]*\31', 5) .. ')(.*)$'
local NAMES_OF_GROUP = '^' .. string.rep('([^\31]*)\31', 5) .. '$'
local UNLIMITED = '*'
local NOTHING_WIDER = {scopes = {}, limits = {}}
local NO_ORDER = {}
local scopes = {groups = {}}

local function wider_scopes(service, endpoint, loop_type)
  local found, limits = {}, {}
  local function add(scope)
    if #scope.limits > 0 then
      found[#found + 1] = scope
    end
    for i = 1, #scope.limits do
      limits[#limits + 1] = scope.limits[i]
    end
  end
  add(definitions.of('global'))
  if service ~= '' then
    add(definitions.of('service:' .. service))
  end
  if endpoint ~= '' then
    add(definitions.of('endpoint:' .. service .. '/' .. endpoint, 'endpoint:' .. service .. '/*'))
  end
  if loop_type ~= '' then
    add(definitions.of('loop_type:' .. loop_type, 'loop_type:*'))
  end
  return {scopes = found, limits = limits}
end

-- What lanes have in common that differ in their loop only.
local function group_of(prefix)
  local group = scopes.groups[prefix]
  if not group then
    local priority, queue, service, endpoint, loop_type = string.match(prefix, NAMES_OF_GROUP)
    group = {priority = tonumber(priority), queue = queue, room = depth.of(queue), is_limited = service ~= UNLIMITED}
    group.wider = group.is_limited and wider_scopes(service, endpoint, loop_type) or NOTHING_WIDER
    group.order = group.is_limited and definitions.of('global').order or NO_ORDER
    group.without_loop = {group.wider, group.room}
    scopes.groups[prefix] = group
  end
  return group
end

-- The lane's group, its scopes, how far its virtual time goes for each unit that it is served, and the loop's
-- scope if it has limits.
function scopes.of_lane(name)
  local prefix, loop = string.match(name, GROUP)
  local group = group_of(prefix)
  local scope = loop ~= '' and group.is_limited and definitions.of('loop:' .. loop, 'loop:*')
  local stretch = scope and scope.order.stretch or group.order.stretch or 1
  if scope and #scope.limits > 0 then
    return group, {group.wider, scope, group.room}, stretch, scope
  end
  return group, group.without_loop, stretch
end

-- The scope that a refusal by the called service concerns: the endpoint, or else the service.
function scopes.throttled(name)
  local _, _, service, endpoint = string.match((string.match(name, GROUP)), NAMES_OF_GROUP)
  if service == '' or service == UNLIMITED then
    return nil
  end
  return endpoint == '' and 'service:' .. service or 'endpoint:' .. service .. '/' .. endpoint
end
