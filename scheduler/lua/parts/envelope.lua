-- A stored message is an 8-byte token of the submit that brought it, 8 bytes of the time since which it
-- waits, then the envelope as kombu would have written it, with a NUL byte in two places: where the fence
-- goes, and kombu's delivery tag. Both are new at every release. JSON cannot hold a NUL byte, so nothing
-- else in the envelope looks like one. Where others may be coalesced into the task, the envelope begins with its key as a
-- member that nobody else reads: {"coalesce":"=…", for one that stands for itself, {"coalesce":"~…", for one that counts
-- where there is no room.
local ENVELOPE_AT = 17

local function envelope(message, fence)
  local fence_at = string.find(message, '\0', ENVELOPE_AT, true)
  local tag_at = string.find(message, '\0', fence_at + 1, true)
  return string.sub(message, ENVELOPE_AT, fence_at - 1) .. fence
    .. string.sub(message, fence_at + 1, tag_at - 1) .. realm .. ':' .. fence
    .. string.sub(message, tag_at + 1)
end
