-- What tasks have cost in tokens, by the tasks' names: a hash, whose fields hold how many costs were
-- ever learned, then the last of them, oldest first, as doubles. `limits/quantile.py` reads it.
--
-- Names may be made up at run time, so there is a bound. Where a new name finds no room, the one of
-- a few, picked at random, that was learned least often makes way.
local MEMORY = 50
local MOST_NAMES = 1000
local LONGEST_NAME = 255
local LOOKED_AT = 10
local NUMBER_BYTES = 8
local ESTIMATES = key('estimates')
local estimates = {}

local function number_at(packed, position)
  return (struct.unpack('<d', packed, position))
end

local function make_room()
  if redis.call('HLEN', ESTIMATES) < MOST_NAMES then
    return
  end
  local found = redis.call('HRANDFIELD', ESTIMATES, LOOKED_AT, 'WITHVALUES')
  local least, rarest
  for i = 1, #found, 2 do
    local count = number_at(found[i + 1], 1)
    if not least or count < least then
      least, rarest = count, found[i]
    end
  end
  redis.call('HDEL', ESTIMATES, rarest)
end

local function learn_new(name, packed, cost)
  if not packed then
    make_room()
  end
  local count = packed and number_at(packed, 1) or 0
  local costs = (packed and string.sub(packed, NUMBER_BYTES + 1) or '') .. struct.pack('<d', cost)
  costs = string.sub(costs, -MEMORY * NUMBER_BYTES)
  redis.call('HSET', ESTIMATES, name, struct.pack('<d', count + 1) .. costs)
end

local function correct(name, packed, cost, before)
  for position = #packed - NUMBER_BYTES + 1, NUMBER_BYTES + 1, -NUMBER_BYTES do
    if number_at(packed, position) == before then
      local rest = string.sub(packed, position + NUMBER_BYTES)
      redis.call('HSET', ESTIMATES, name, string.sub(packed, 1, position - 1) .. struct.pack('<d', cost) .. rest)
      return
    end
  end
end

-- Learns what a task of this name has cost; where `before` was learned of it already, corrects that.
function estimates.learn(name, cost, before)
  if name == '' or #name > LONGEST_NAME then
    return
  end
  local packed = redis.call('HGET', ESTIMATES, name)
  if not before then
    learn_new(name, packed, cost)
  elseif packed then
    correct(name, packed, cost, before)
  end
end
