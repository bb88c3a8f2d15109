-- include: keys.lua
-- include: retirement.lua
--
-- Makes these the realm's limits, under a new version. The old version stays for a day: work that
-- was charged under it is settled under it. Whoever sleeps over waiting work is woken.
--
-- KEYS realm: the realm's prefix
-- ARGV digest: of the configuration; the current one again changes nothing
-- ARGV config: JSON of the whole configuration
-- ARGV rules: JSON list of scope, JSON list of its limits, for each scope
--
-- Returns the version in force.
local KEPT_MS = 86400000
local BELL = key('bell')
-- Lua unpacks some 8,000 values at most, and a realm may name more loops than that.
local CHUNK = 1000
local version = redis.call('GET', key('version'))

if version and redis.call('HGET', key('config'), 'digest') == digest then
  return tonumber(version)
end
if version then
  redis.call('PEXPIRE', key('limits:' .. version), KEPT_MS)
end
version = redis.call('INCR', key('version'))
redis.call('HSET', key('config'), 'digest', digest, 'json', config)
local fields = cjson.decode(rules)
for i = 1, #fields, CHUNK do
  redis.call('HSET', key('limits:' .. version), unpack(fields, i, math.min(i + CHUNK - 1, #fields)))
end
retire_governors(key('limits:' .. version))
if redis.call('LLEN', BELL) == 0 then
  redis.call('RPUSH', BELL, '1')
end
return version
