-- include: outcome.lua
-- include: advance.lua
-- include: unclaimed.lua
--
-- Takes back a task whose lease has lapsed, or that its worker gave up. It goes to the head of its
-- lane and is released again under a new fence. What its dead attempt spent in a window stays spent
-- if it had started, and is given back if it had not. Tokens that it reserved and never settled are
-- given back in any case.
local recovery = {}

-- `how` is what the end of the attempt says of its service.
function recovery.put_back(self, how)
  report_outcome(self, how)
  recovery.return_to_lane(self, 1)
end

-- It counts as so many redeliveries more, none for one that was refused. But it was released once, and is known for it.
function recovery.return_to_lane(self, redeliveries)
  redis.call('HINCRBY', key('redelivered'), self.task, redeliveries)
  local target = lane.at(self.lane)
  lease.close(self, true)
  capped.return_to(target.scopes, self.task)
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
  if not lease.is_claimed(self) then
    local wait = unclaimed.look_again_in(self, lane.at(self.lane).queue, claim_within)
    if wait then
      redis.call('ZADD', key('leases'), whole(now + wait), task)
      return false
    end
  end
  recovery.put_back(self, 'open')
  return true
end
