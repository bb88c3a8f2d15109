-- include: lane.lua
-- include: lease.lua
--
-- Moves a waiting task to its broker queue and opens its lease, in one step with whatever charged
-- its limits: a crash anywhere can neither lose the task nor release it twice.
--
-- A stored message is an 8-byte token of the submit that brought it, then the envelope as kombu
-- would have written it, with a NUL byte in two places: where the fence goes, and kombu's delivery
-- tag. Both are new at every release. JSON cannot hold a NUL byte, so nothing else looks like one.
local TOKEN_BYTES = 8
local MESSAGE = key('message')
-- Releases are made one by one and written together: so many at a time.
local BATCH = 50
local release = {made = {}, count = 0, tasks = {}, fences = {}, queues = {}, records = {}, deadlines = {}}

local function next_fence()
  if not release.fence then
    release.fence = tonumber(redis.call('GET', key('fence')) or 0)
  end
  release.fence = release.fence + 1
  return whole(release.fence)
end

function release.envelope(message, fence)
  local fence_at = string.find(message, '\0', TOKEN_BYTES + 1, true)
  local tag_at = string.find(message, '\0', fence_at + 1, true)
  return string.sub(message, TOKEN_BYTES + 1, fence_at - 1) .. fence
    .. string.sub(message, fence_at + 1, tag_at - 1) .. realm .. ':' .. fence
    .. string.sub(message, tag_at + 1)
end

local function write_messages()
  local messages, sent = redis.call('HMGET', MESSAGE, unpack(release.tasks)), {}
  for i, queue in ipairs(release.queues) do
    local envelopes = sent[queue] or {}
    envelopes[#envelopes + 1] = release.envelope(messages[i], release.fences[i])
    sent[queue] = envelopes
  end
  for queue, envelopes in pairs(sent) do
    redis.call('LPUSH', queue, unpack(envelopes))
  end
end

local function write_all()
  write_messages()
  redis.call('HSET', LEASE, unpack(release.records))
  redis.call('ZADD', LEASES, unpack(release.deadlines))
  release.tasks, release.fences, release.queues, release.records, release.deadlines = {}, {}, {}, {}, {}
end

function release.make(self, head, claim_within)
  lane.pop(self)
  local fence, deadline, at = next_fence(), now + claim_within, #release.tasks + 1
  ledger.apply('hold', self.scopes, head, head.task, lease.slot_until(deadline))
  release.tasks[at], release.fences[at], release.queues[at] = head.task, fence, self.queue
  release.records[2 * at - 1], release.records[2 * at] = head.task, lease.record({
    fence = fence, claimant = '', lane = self.name, released_at = now, requests = head.requests, tokens = head.tokens,
    charged = lease.charged(self.scopes, head),
  })
  release.deadlines[2 * at - 1], release.deadlines[2 * at] = whole(deadline), head.task
  release.made[head.task] = true
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
