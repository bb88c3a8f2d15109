-- include: definitions.lua
-- include: depth.lua
--
-- Whose limits concern the tasks of a lane. Its name says it: priority, queue, service, endpoint, loop
-- type, loop. A service of `*` stands for work that no limit concerns. Only scopes that have limits
-- are here, widest first, and the broker queue's comes last. Those that all loops have in common are one to the
-- ledger: `{scopes, limits}`, with the limits of all of them. Those with a cap on what waits are `capped` besides.
local GROUP = '^(' .. string.rep('[^\31]*\31', 5) .. ')(.*)$'
local NAMES_OF_GROUP = '^' .. string.rep('([^\31]*)\31', 5) .. '$'
local UNLIMITED = '*'
local NOTHING_WIDER = {scopes = {}, limits = {}}
local NO_ORDER = {}
local scopes = {groups = {}}

-- Those of a lane's scopes whose waiting work has a cap, widest first; nil for none.
local function with_capped(capped, scope)
  if not scope.cap then
    return capped
  end
  local all = {unpack(capped or {})}
  all[#all + 1] = scope
  return all
end

local function wider_scopes(service, endpoint, loop_type)
  local found, limits, capped = {}, {}, nil
  local function add(scope)
    if #scope.limits > 0 then
      found[#found + 1] = scope
    end
    for i = 1, #scope.limits do
      limits[#limits + 1] = scope.limits[i]
    end
    capped = with_capped(capped, scope)
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
  return {scopes = found, limits = limits}, capped
end

-- What lanes have in common that differ in their loop only.
local function group_of(prefix)
  local group = scopes.groups[prefix]
  if not group then
    local priority, queue, service, endpoint, loop_type = string.match(prefix, NAMES_OF_GROUP)
    group = {priority = tonumber(priority), queue = queue, room = depth.of(queue), is_limited = service ~= UNLIMITED}
    group.wider, group.order = NOTHING_WIDER, NO_ORDER
    if group.is_limited then
      group.wider, group.capped = wider_scopes(service, endpoint, loop_type)
      group.order = definitions.of('global').order
    end
    group.without_loop = {group.wider, group.room, capped = group.capped}
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
  local narrow = scope and #scope.limits > 0 and scope or nil
  if not narrow and not (scope and scope.cap) then
    return group, group.without_loop, stretch
  end
  local own = narrow and {group.wider, narrow, group.room} or {group.wider, group.room}
  -- To assign nil is to make room for it.
  if group.capped or scope.cap then
    own.capped = with_capped(group.capped, scope)
  end
  return group, own, stretch, narrow
end

-- The scope that a refusal by the called service concerns: the endpoint, or else the service.
function scopes.throttled(name)
  local _, _, service, endpoint = string.match((string.match(name, GROUP)), NAMES_OF_GROUP)
  if service == '' or service == UNLIMITED then
    return nil
  end
  return endpoint == '' and 'service:' .. service or 'endpoint:' .. service .. '/' .. endpoint
end
