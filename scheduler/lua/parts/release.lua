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
local release = {made = {}, count = 0}

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

function release.make(self, head, claim_within)
  lane.pop(self)
  local fence = next_fence()
  local deadline = now + claim_within
  ledger.apply('hold', self.scopes, head, head.task, lease.slot_until(deadline))
  lease.save({
    task = head.task, fence = fence, claimant = '', lane = self.name, deadline = deadline, released_at = now,
    requests = head.requests, tokens = head.tokens, charged = lease.charged(self.scopes, head),
  })
  redis.call('LPUSH', self.queue, release.envelope(redis.call('HGET', MESSAGE, head.task), fence))
  release.made[head.task] = true
  release.count = release.count + 1
end

function release.save()
  if release.fence then
    redis.call('SET', key('fence'), whole(release.fence))
  end
end
