-- The index of what waits under a key, so that a submit with the same key can be coalesced into it: `keyed`, a sorted set in
-- the order of its members, each a key, the time since which its task waits, and the task. A task is in it from its submit
-- until it is released or gone, so what was released once and came back is not; see parts/envelope.lua for where its key is.
local KEYED = key('keyed')
local KEY_AT, KEY = 17, '^{"coalesce":"([^"]+)",'
-- Kombu's envelope begins with another letter, and one byte is looked at in a fraction of the time.
local INITIAL_AT, INITIAL = KEY_AT + 2, string.byte('c')
local TIME = '%020.0f'
local ALWAYS = '='
local keyed = {}

-- The key in a stored message, or nil.
function keyed.of(message)
  return string.byte(message, INITIAL_AT) == INITIAL and string.match(message, KEY, KEY_AT) or nil
end

-- Whether the key stands for itself, room or no room.
function keyed.is_always(under)
  return string.sub(under, 1, 1) == ALWAYS
end

local function member(under, since, task)
  return under .. '\30' .. string.format(TIME, since) .. '\30' .. task
end

function keyed.enter(under, since, task)
  redis.call('ZADD', KEYED, 0, member(under, since, task))
end

function keyed.leave(task, message)
  local under = keyed.of(message)
  if under then
    redis.call('ZREM', KEYED, member(under, struct.unpack('<d', message, 9), task))
  end
end

-- The task that waits under the key and is due first, if that is no later than the time.
function keyed.waiting(under, due)
  local first = redis.call('ZRANGEBYLEX', KEYED, '[' .. under .. '\30', '[' .. member(under, due, '\255'), 'LIMIT', 0, 1)[1]
  return first and string.match(first, '^[^\30]+\30[^\30]+\30(.*)$')
end
