-- include: regulator.lua
--
-- A record as the scripts about regulators return it: scope, then name and value of each field. One
-- that is of no use has no fields.
local function reply_of(record)
  local reply = {record.scope}
  if record.spent_at > now then
    for name, value in pairs(record.fields) do
      reply[#reply + 1], reply[#reply + 2] = name, value
    end
  end
  return reply
end
