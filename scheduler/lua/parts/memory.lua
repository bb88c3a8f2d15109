-- include: keyed.lua
--
-- Remembers, for a minute or two, the submits whose tasks have gone, so that a producer that never
-- saw the reply and sends again does not bring a task back.
local ERA = 60000000
local memory = {}

local function era_key(era)
  return key('done:' .. whole(era))
end

function memory.knows(token)
  local era = math.floor(now / ERA)
  return redis.call('SISMEMBER', era_key(era), token) == 1 or redis.call('SISMEMBER', era_key(era - 1), token) == 1
end

-- Takes a task's message out, its key and the end of its wait; its submit is remembered.
function memory.forget(task, lane_name, weight, tokens)
  redis.call('ZREM', key('deadlines'), lane_name .. '\30' .. weight .. '\31' .. tokens .. '\31' .. task)
  local message = redis.call('HGET', key('message'), task)
  redis.call('HDEL', key('message'), task)
  keyed.leave(task, message)
  redis.call('HDEL', key('redelivered'), task)
  local done = era_key(math.floor(now / ERA))
  redis.call('SADD', done, string.sub(message, 1, 8))
  redis.call('PEXPIRE', done, ttl_until(now + 2 * ERA))
  return message
end
