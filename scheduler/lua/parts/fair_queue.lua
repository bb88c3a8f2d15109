-- Orders lanes by priority, then by self-clocked fair queueing (S. J. Golestani, INFOCOM 1994): a
-- lane's tag is the queue's virtual time plus the cost of its head, and the virtual time is the tag
-- of the lane last taken. Each queue of lanes has its own clock, per priority. A lane that comes
-- back is charged no history: its last task was served when the clock stood at that task's tag.
--
-- A queue is one sorted set; the score is the priority's band plus the tag. A call reads the head of
-- it, in pieces (`names`, `scores`, from `first` on), and works on that; whoever enters behind what
-- was read is only noted. What has changed is written when the call ends, or when more must be read.
local BAND = 2 ^ 43
local CLOCKS = key('clocks')
local PIECES = {2, 16, 64}
-- As JSON writes them: text of a number costs more than all else here.
local NAMES = {[0] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'}
local fair_queue = {}

local function band_of(priority)
  return (9 - priority) * BAND
end

function fair_queue.priority_of(score)
  return 9 - math.floor(score / BAND)
end

function fair_queue.new(name)
  return {name = name, first = 1, last = 0, pieces = 0}
end

-- A queue that is known to be empty need not be read.
function fair_queue.assume_empty(self)
  self.is_whole, self.has_clocks, self.is_empty = true, false, true
end

-- Most queues that a call knows of are empty and stay so: they get no tables.
local function open(self)
  self.key = key(self.name)
  self.names, self.scores = {}, {}
  self.entered, self.left, self.is_stored = {}, {}, {}
end

local function write(self)
  local gone, come = {}, {}
  for name in pairs(self.left) do
    gone[#gone + 1] = name
  end
  for name, score in pairs(self.entered) do
    come[#come + 1] = string.format('%.17g', score)
    come[#come + 1] = name
  end
  if gone[1] then
    redis.call('ZREM', self.key, unpack(gone))
  end
  if come[1] then
    redis.call('ZADD', self.key, unpack(come))
  end
  self.entered, self.left, self.is_stored = {}, {}, {}
end

local function read(self)
  if self.names then
    write(self)
  else
    open(self)
  end
  self.pieces = math.min(self.pieces + 1, #PIECES)
  local most = PIECES[self.pieces]
  local found = redis.call('ZRANGE', self.key, 0, most - 1, 'WITHSCORES')
  local names, scores = self.names, self.scores
  for i = 1, #found, 2 do
    names[(i + 1) / 2], scores[(i + 1) / 2] = found[i], tonumber(found[i + 1])
  end
  self.first, self.last = 1, #found / 2
  self.is_whole, self.is_empty = self.last < most, self.last == 0
  if self.has_clocks == nil then
    self.has_clocks = self.last > 0
  end
end

-- The best lane and its score, or nil.
function fair_queue.peek(self)
  if self.first > self.last and not self.is_whole then
    read(self)
  end
  local first = self.first
  if first <= self.last then
    return self.names[first], self.scores[first]
  end
end

-- The first lane of each priority and its score, the highest first.
function fair_queue.leaders(self)
  local name, score = fair_queue.peek(self)
  local found, at = {}, self.first
  if not self.is_whole then
    write(self)
  end
  while name do
    found[#found + 1] = {name = name, score = score}
    local next_band = (math.floor(score / BAND) + 1) * BAND
    if self.is_whole then
      while at <= self.last and self.scores[at] < next_band do
        at = at + 1
      end
      name, score = at <= self.last and self.names[at], self.scores[at]
    else
      local stored = redis.call('ZRANGEBYSCORE', self.key, whole(next_band), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
      name, score = stored[1], tonumber(stored[2])
    end
  end
  return found
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
  return band_of(priority) + (clocks_of(self)[NAMES[priority]] or 0) + cost
end

-- The queue's clock moves to the tag of the lane that is taken.
function fair_queue.tick(self, priority, score)
  clocks_of(self)[NAMES[priority]] = score - band_of(priority)
  self.ticked = true
end

local function comes_before(score, name, other_score, other)
  return score < other_score or (score == other_score and name < other)
end

function fair_queue.enter(self, name, score)
  fair_queue.peek(self)
  if not self.names then
    open(self)
  end
  -- Only who was stored must be taken out when it leaves again.
  self.is_stored[name], self.is_empty = self.left[name], false
  self.entered[name], self.left[name] = score, nil
  local names, scores, at = self.names, self.scores, self.last
  if not self.is_whole and not comes_before(score, name, scores[at], names[at]) then
    return
  end
  while at >= self.first and comes_before(score, name, scores[at], names[at]) do
    names[at + 1], scores[at + 1] = names[at], scores[at]
    at = at - 1
  end
  names[at + 1], scores[at + 1] = name, score
  self.last = self.last + 1
end

function fair_queue.holds(self, name)
  if not self.names then
    open(self)
  end
  if self.entered[name] or self.left[name] then
    return not self.left[name]
  end
  return redis.call('ZSCORE', self.key, name)
end

-- Takes out a lane that is here.
function fair_queue.leave(self, name)
  if not self.names then
    open(self)
  end
  if self.has_clocks == nil then
    self.has_clocks = true
  end
  local names, scores = self.names, self.scores
  for at = self.first, self.last do
    if names[at] == name then
      for behind = at, self.first + 1, -1 do
        names[behind], scores[behind] = names[behind - 1], scores[behind - 1]
      end
      self.first = self.first + 1
      break
    end
  end
  self.left[name] = not self.entered[name] or self.is_stored[name]
  self.entered[name], self.is_stored[name] = nil, nil
  self.shrunk, self.is_empty = true, self.is_whole and self.first > self.last
end

-- Whether someone of this priority or a higher one waits here.
function fair_queue.outranks(self, priority)
  local name, score = fair_queue.peek(self)
  return name and score < band_of(priority) + BAND
end

function fair_queue.save(self)
  if not self.names then
    return
  end
  write(self)
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
