-- include: clock.lua
-- include: keys.lua
-- include: publication.lua
--
-- A process says which limits its program brings. They are put in force when they are new, and only
-- then: a restart never undoes what somebody has applied since. In a rolling deploy old and new
-- processes live side by side, and the newest limits rule. Old ones come back when no process has
-- brought the newest for SILENCE: then the deploy was rolled back.
--
-- `brought` holds, by program, the digest that was put in force last, and `brought:<program>` the
-- last REMEMBERED digests with the time at which a process brought them.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV program: whose limits these are
-- ARGV digest: of the configuration
-- ARGV config: JSON of the whole configuration; '' only asks
-- ARGV rules: JSON list of scope, JSON list of its limits, for each scope; '' only asks
-- ARGV by: who does it
-- ARGV note: why
--
-- Returns {status, version, record}: 'applied'; 'unchanged' (brought before, nothing to do); 'superseded'
-- (older than what other processes bring); 'wanted' (asked, and the configuration is to be sent);
-- version and record as publish.lua. Nothing expires: programs are few.
local SILENCE = 60000000
local NOTED_EVERY = SILENCE / 4
local REMEMBERED = 100
local seen = key('brought:' .. program)
local newest = redis.call('HGET', key('brought'), program)

local function last_seen(content)
  return tonumber(content and redis.call('ZSCORE', seen, content) or -math.huge)
end

local function is_old()
  return last_seen(digest) > -math.huge and now - last_seen(newest) < SILENCE
end

local function note_as_seen()
  redis.call('ZADD', seen, whole(now), digest)
  redis.call('ZREMRANGEBYRANK', seen, 0, -REMEMBERED - 1)
end

if digest == newest then
  if now - last_seen(digest) >= NOTED_EVERY then
    note_as_seen()
  end
  return publication.reply('unchanged')
end
if is_old() then
  return publication.reply('superseded')
end
if config == '' then
  return publication.reply('wanted')
end
note_as_seen()
redis.call('HSET', key('brought'), program, digest)
if publication.is_in_force() then
  return publication.reply('unchanged')
end
publication.publish()
return publication.reply('applied')
