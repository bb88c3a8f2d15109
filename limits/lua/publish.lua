-- include: clock.lua
-- include: keys.lua
-- include: publication.lua
--
-- Makes these the realm's limits, under a new version, unless others are in force than the caller has
-- read: two operators who change limits at the same time never undo each other's change unseen. What
-- is in force already is no conflict, so a call that is repeated, because its reply was lost, is none.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds, the time that the history keeps; '' lets the server decide
-- ARGV expected: the version that must be in force, 0 for none; '' for any
-- ARGV digest: of the configuration
-- ARGV config: JSON of the whole configuration
-- ARGV rules: JSON list of scope, JSON list of its limits, for each scope
-- ARGV by: who does it
-- ARGV note: why
--
-- Returns {status, version, record}: 'applied', 'unchanged' or 'conflict'; the version in force now;
-- its record, a JSON object of digest, by, note, at_us; '' for none.
if publication.is_in_force() then
  return publication.reply('unchanged')
end
if expected ~= '' and tonumber(expected) ~= publication.version then
  return publication.reply('conflict')
end
publication.publish()
return publication.reply('applied')
