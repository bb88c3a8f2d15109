-- include: envelope.lua
-- include: outbox.lua
--
-- A release that no worker has claimed is not lost as long as its message may still come to one: it lies in
-- a list of this server, or is to be published to a broker elsewhere, or lies in the queue there. Of that
-- only the broker knows. So whoever publishes is asked, and says when he saw the queue empty: what was
-- published before is with a worker, or lost.
--
-- A broker that does not answer is believed to hold a message for `patience` times as long as a claim may take; an
-- answer is looked for after the part `answer` of that.
local unclaimed = {patience = 20, answer = 1 / 4}

function unclaimed.look_elsewhere_in(self, queue, claim_within)
  if redis.call('ZSCORE', outbox.releasing, outbox.entry(self.task, self.fence)) then
    return claim_within
  end
  local published_at = redis.call('ZSCORE', LEASES, self.task) - claim_within
  local emptied_at = tonumber(redis.call('HGET', key('emptied'), queue) or 0)
  if emptied_at > published_at or now - self.released_at > unclaimed.patience * claim_within then
    return nil
  end
  redis.call('SADD', key('asked'), queue)
  outbox.ring()
  return math.ceil(unclaimed.answer * claim_within)
end

-- How long until the release is to be looked for again; nil if it is lost.
function unclaimed.look_again_in(self, queue, claim_within)
  if outbox.is_for(queue) then
    return unclaimed.look_elsewhere_in(self, queue, claim_within)
  end
  local message = redis.call('HGET', key('message'), self.task)
  return message and redis.call('LPOS', queue, envelope(message, self.fence)) and claim_within
end

-- Takes the release back; false if a worker has its message already.
function unclaimed.take_back(self, queue)
  if outbox.is_for(queue) then
    redis.call('ZREM', outbox.releasing, outbox.entry(self.task, self.fence))
    return true
  end
  local message = redis.call('HGET', key('message'), self.task)
  return redis.call('LREM', queue, 1, envelope(message, self.fence)) == 1
end
