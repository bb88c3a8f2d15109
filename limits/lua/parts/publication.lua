-- include: retirement.lua
-- include: caps.lua
--
-- The limits in force, and their history. Each version of them has a record (who, when, why) and its
-- configuration; the last KEPT of them can be read, and put in force again. The rules of a version
-- outlive it by a day: work that was charged under it is settled under it.
local KEPT = 100
local OUTLIVES_MS = 86400000
local BELL = key('bell')
-- Lua unpacks some 8,000 values at most, and a realm may name more loops than that.
local CHUNK = 1000
local publication = {version = tonumber(redis.call('GET', key('version')) or 0)}

function publication.is_in_force()
  return publication.version > 0 and redis.call('HGET', key('config'), 'digest') == digest
end

local function store_rules()
  local fields = cjson.decode(rules)
  for i = 1, #fields, CHUNK do
    redis.call('HSET', key('limits:' .. publication.version), unpack(fields, i, math.min(i + CHUNK - 1, #fields)))
  end
end

local function remember()
  local record = cjson.encode({digest = digest, by = by, note = note, at_us = whole(now)})
  redis.call('HSET', key('history'), publication.version, record)
  redis.call('HSET', key('configs'), publication.version, config)
  redis.call('HDEL', key('history'), publication.version - KEPT)
  redis.call('HDEL', key('configs'), publication.version - KEPT)
end

-- Puts the configuration in force under a new version. Whoever sleeps over waiting work is woken.
function publication.publish()
  local before = publication.version
  if before > 0 then
    redis.call('PEXPIRE', key('limits:' .. before), OUTLIVES_MS)
  end
  publication.version = redis.call('INCR', key('version'))
  redis.call('HSET', key('config'), 'digest', digest, 'json', config)
  store_rules()
  remember()
  retire_governors(key('limits:' .. publication.version))
  change_caps(before, publication.version)
  if redis.call('LLEN', BELL) == 0 then
    redis.call('RPUSH', BELL, '1')
  end
end

-- What a script answers: what it did, the version in force now, and its record ('' if there is none).
function publication.reply(status)
  return {status, publication.version, redis.call('HGET', key('history'), publication.version) or ''}
end
