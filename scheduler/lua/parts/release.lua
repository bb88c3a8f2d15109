-- include: lane.lua
-- include: capped.lua
-- include: charge.lua
-- include: envelope.lua
-- include: outbox.lua
-- include: keyed.lua
--
-- Moves a waiting task to its broker queue, or to the outbox if that is elsewhere, and opens its lease, in one step
-- with whatever charged its limits: a crash anywhere can neither lose the task nor release it twice.
local MESSAGE = key('message')
-- Releases are made one by one and written together: so many at a time.
local BATCH = 50
local release = {made = {}, count = 0, tasks = {}, fences = {}, queues = {}, capped = {}, records = {}, deadlines = {}}

local function next_fence()
  if not release.fence then
    release.fence = tonumber(redis.call('GET', key('fence')) or 0)
  end
  release.fence = release.fence + 1
  return string.format('%.0f', release.fence)
end

local function write_messages()
  local messages, sent = redis.call('HMGET', MESSAGE, unpack(release.tasks)), {}
  for i, queue in ipairs(release.queues) do
    local envelopes = sent[queue]
    if envelopes then
      envelopes[#envelopes + 1] = envelope(messages[i], release.fences[i])
    elseif outbox.is_for(queue) then
      outbox.add(release.tasks[i], release.fences[i])
    else
      sent[queue] = {envelope(messages[i], release.fences[i])}
    end
    keyed.leave(release.tasks[i], messages[i])
    local from = release.capped[i]
    if from then
      capped.leave(from.lane.scopes, from.lane.name, from.element, release.tasks[i], #messages[i])
    end
  end
  for queue, envelopes in pairs(sent) do
    redis.call('LPUSH', queue, unpack(envelopes))
  end
end

local function write_all()
  write_messages()
  redis.call('HSET', LEASE, unpack(release.records))
  redis.call('ZADD', LEASES, unpack(release.deadlines))
  release.tasks, release.fences, release.queues, release.capped, release.records, release.deadlines = {}, {}, {}, {}, {}, {}
end

function release.make(self, head, claim_within)
  lane.pop(self)
  local task, fence, deadline, at = head.task, next_fence(), now + claim_within, #release.tasks + 1
  ledger.apply('hold', self.scopes, head, task, lease.slot_until(deadline))
  release.tasks[at], release.fences[at], release.queues[at] = task, fence, self.queue
  if self.scopes.capped then
    release.capped[at] = {lane = self, element = lane.element(head.weight, head.tokens_text, task)}
  end
  local records, deadlines = release.records, release.deadlines
  records[2 * at - 1] = task
  records[2 * at] = lease.new_record(fence, self.name, head.weight, head.tokens_text, lease.charged(self.scopes, head))
  deadlines[2 * at - 1], deadlines[2 * at] = whole(deadline), task
  release.made[task] = true
  release.count = release.count + 1
  if at == BATCH then
    write_all()
  end
end

function release.save()
  if release.tasks[1] then
    write_all()
  end
  if release.fence then
    redis.call('SET', key('fence'), whole(release.fence))
  end
end
