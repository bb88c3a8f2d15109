-- Orders lanes by priority, then by self-clocked fair queueing (S. J. Golestani, INFOCOM 1994): a
-- lane's tag is the queue's virtual time plus the cost of its head, and the virtual time is the tag
-- of the lane last taken. Each queue of lanes has its own clock, per priority. A lane that comes
-- back is charged no history: its last task was served when the clock stood at that task's tag.
--
-- A queue is one sorted set; the score is the priority's band plus the tag.
local BAND = 2 ^ 43
local CLOCKS = key('clocks')
local fair_queue = {}

local function band_of(priority)
  return (9 - priority) * BAND
end

function fair_queue.new(name)
  return {name = name, key = key(name)}
end

-- The best lane and its score, or nil. Remembered, since only this call changes the queue.
function fair_queue.peek(self)
  if self.best == nil then
    local first = redis.call('ZRANGE', self.key, 0, 0, 'WITHSCORES')
    self.best, self.best_score = first[1] or false, tonumber(first[2])
    if self.has_clocks == nil then
      self.has_clocks = self.best and true
    end
  end
  return self.best or nil, self.best_score
end

-- An empty queue keeps no clocks: nobody is there to be compared with.
local function clocks_of(self)
  if not self.clocks then
    self.clocks = {}
    fair_queue.peek(self)
    if self.has_clocks then
      local stored = redis.call('HGET', CLOCKS, self.name)
      self.clocks = stored and cjson.decode(stored) or {}
    end
  end
  return self.clocks
end

function fair_queue.score(self, priority, cost)
  return band_of(priority) + (clocks_of(self)[tostring(priority)] or 0) + cost
end

-- The queue's clock moves to the tag of the lane that is taken.
function fair_queue.tick(self, priority, score)
  clocks_of(self)[tostring(priority)] = score - band_of(priority)
  self.ticked = true
end

function fair_queue.comes_before(score, name, other_score, other)
  return score < other_score or (score == other_score and name < other)
end

function fair_queue.enter(self, name, score)
  fair_queue.peek(self)
  redis.call('ZADD', self.key, string.format('%.17g', score), name)
  if not self.best or fair_queue.comes_before(score, name, self.best_score, self.best) then
    self.best, self.best_score = name, score
  end
end

function fair_queue.holds(self, name)
  return redis.call('ZSCORE', self.key, name)
end

function fair_queue.leave(self, name)
  self.best = nil
  local left = redis.call('ZREM', self.key, name) == 1
  if left then
    self.shrunk, self.has_clocks = true, true
  end
  return left
end

-- Takes the best lane out. Returns its score.
function fair_queue.take(self, priority)
  local name, score = fair_queue.peek(self)
  fair_queue.leave(self, name)
  fair_queue.tick(self, priority, score)
  return score
end

-- Whether someone of this priority or a higher one waits here.
function fair_queue.outranks(self, priority)
  local name, score = fair_queue.peek(self)
  return name and score < band_of(priority) + BAND
end

function fair_queue.save(self)
  if not (self.ticked or self.shrunk) then
    return
  end
  if not fair_queue.peek(self) then
    if self.has_clocks then
      redis.call('HDEL', CLOCKS, self.name)
    end
  elseif self.ticked then
    redis.call('HSET', CLOCKS, self.name, cjson.encode(self.clocks))
  end
end
