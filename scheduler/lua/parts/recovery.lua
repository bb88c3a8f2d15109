-- include: outcome.lua
-- include: advance.lua
--
-- Takes back a task whose lease has lapsed, or that its worker gave up. It goes to the head of its
-- lane and is released again under a new fence. What its dead attempt spent in a window stays spent
-- if it had started, and is given back if it had not. Tokens that it reserved and never settled are
-- given back in any case.
local recovery = {}

-- A release that nobody claimed may still lie in the broker's queue: then it is not lost.
local function still_queued(self, queue)
  local message = redis.call('HGET', key('message'), self.task)
  return message and redis.call('LPOS', queue, envelope(message, self.fence))
end

-- `how` is what the end of the attempt says of its service.
function recovery.put_back(self, how)
  report_outcome(self, how)
  redis.call('HINCRBY', key('redelivered'), self.task, 1)
  recovery.return_to_lane(self)
end

function recovery.return_to_lane(self)
  local target = lane.at(self.lane)
  lease.close(self, true)
  lane.put_back(target, lane.element(whole(self.requests), whole(self.tokens), self.task))
  lane.touch_gates(target)
end

-- Whether the service or the worker failed the task is not known: a call that hangs looks like this.
-- Told of all tasks that have lapsed before any is put back, because it may hold their service. True if it was told.
function recovery.tell_lapsed(task)
  local self = lease.of(task)
  if not lease.is_claimed(self) then
    return false
  end
  report_outcome(self, 'failed')
  return true
end

function recovery.lapse(task, claim_within)
  local self = lease.of(task)
  if not lease.is_claimed(self) and still_queued(self, lane.at(self.lane).queue) then
    redis.call('ZADD', key('leases'), whole(now + claim_within), task)
    return false
  end
  recovery.put_back(self, 'open')
  return true
end
