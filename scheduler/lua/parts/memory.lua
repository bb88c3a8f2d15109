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

local function deadline_of(self)
  return self.lane .. '\30' .. whole(self.requests) .. '\31' .. whole(self.tokens) .. '\31' .. self.task
end

local function remember(tokens)
  local done = era_key(math.floor(now / ERA))
  redis.call('SADD', done, unpack(tokens))
  redis.call('PEXPIRE', done, ttl_until(now + 2 * ERA))
end

-- `forget` for the tasks of many leases.
function memory.forget_all(leases)
  local tasks, entries, tokens = {}, {}, {}
  for i, self in ipairs(leases) do
    tasks[i], entries[i] = self.task, deadline_of(self)
  end
  redis.call('ZREM', key('deadlines'), unpack(entries))
  for i, message in ipairs(redis.call('HMGET', key('message'), unpack(tasks))) do
    tokens[i] = string.sub(message, 1, 8)
  end
  redis.call('HDEL', key('message'), unpack(tasks))
  redis.call('HDEL', key('redelivered'), unpack(tasks))
  remember(tokens)
end

-- Takes a task's message out, and the end of its wait; its submit is remembered.
function memory.forget(task, lane_name, weight, tokens)
  redis.call('ZREM', key('deadlines'), lane_name .. '\30' .. weight .. '\31' .. tokens .. '\31' .. task)
  local message = redis.call('HGET', key('message'), task)
  redis.call('HDEL', key('message'), task)
  redis.call('HDEL', key('redelivered'), task)
  remember({string.sub(message, 1, 8)})
  return message
end
