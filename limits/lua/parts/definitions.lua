-- include: ledger.lua
-- include: regulated.lua
--
-- What the realm's limits are. Each version of them is one hash: scope -> JSON list of rules. A
-- scope that is not named takes its template's rules (`loop:*`), with state of its own. What else
-- holds a scope (it is paused, say) stands among its limits as long as it does. Versions
-- are kept, because work that was charged under one is settled under the same one.
local definitions = {scopes = {}, rules = {}}
-- Where no more scopes than this are named, they are read at once.
local FEW_SCOPES = 32

function definitions.use(version)
  definitions.version = version
  definitions.key = key('limits:' .. version)
  definitions.scopes, definitions.rules = {}, {}
  definitions.named = nil
end

function definitions.use_current()
  definitions.use(redis.call('GET', key('version')) or '0')
end

local function json_of(name)
  if definitions.named == nil then
    definitions.named = redis.call('HLEN', definitions.key) <= FEW_SCOPES and {}
    local fields = definitions.named and redis.call('HGETALL', definitions.key) or {}
    for i = 1, #fields, 2 do
      definitions.named[fields[i]] = fields[i + 1]
    end
  end
  if definitions.named then
    return definitions.named[name]
  end
  return redis.call('HGET', definitions.key, name)
end

-- The cap on what waits stands behind the limits and is none of them.
local function take_cap(rules, name)
  local last = rules and rules[#rules]
  if last and last[2] == 'backlog' then
    rules[#rules] = nil
    rules.cap = {key = name, tasks = last[3], block_us = last[4], bytes = last[5], overflow = last[6]}
  end
end

local function rules_of(name)
  local rules = definitions.rules[name]
  if rules == nil then
    local json = json_of(name)
    rules = json and cjson.decode(json) or false
    take_cap(rules, name)
    for i, fields in ipairs(rules or {}) do
      rules[i] = ledger.rule(unpack(fields))
    end
    definitions.rules[name] = rules
  end
  return rules
end

function definitions.of(name, template)
  local scope = definitions.scopes[name]
  if not scope then
    local limits, rules = {}, rules_of(name) or template and rules_of(template) or {}
    for i, rule in ipairs(rules) do
      limits[i] = ledger.limit(name, rule)
    end
    regulated.join(name, limits, limits)
    scope = {name = name, limits = limits, cap = rules.cap}
    definitions.scopes[name] = scope
  end
  return scope
end
