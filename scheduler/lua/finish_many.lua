-- include: clock.lua
-- include: keys.lua
-- include: lease.lua
-- include: memory.lua
-- include: run_time.lua
--
-- Tasks have ended well, and nobody waits for that: it frees no slots and gives nothing back. Together they cost little more
-- than one. A task of which more is to be said is left as it is, for finish.lua; a stale fence changes nothing.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV ends...: task, fence of each
--
-- Returns those that are left, as numbers: 1 for the first.
local left, ended, ran_on, seen = {}, {}, {}, {}

for i = 1, #ends, 2 do
  local self = not seen[ends[i]] and lease.of(ends[i])
  if self and self.fence == ends[i + 1] then
    seen[self.task] = true
    if not lease.is_claimed(self) or lease.is_awaited(self) then
      left[#left + 1] = (i + 1) / 2
    else
      ended[#ended + 1] = self
      note_run_time(self)
      if lease.ran_on(self) then
        ran_on[#ran_on + 1] = self
      end
    end
  end
end
if not ended[1] then
  return left
end

memory.forget_all(ended)
lease.remove_all(ended)
if not ran_on[1] then
  return left
end
-- include: charge.lua
for _, self in ipairs(ran_on) do
  lease.finish(self)
end
ledger.save()
return left
