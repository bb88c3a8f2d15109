-- include: ledger.lua
-- include: regulated.lua
--
-- What the realm's limits are. Each version of them is one hash: scope -> JSON list of rules, and as the
-- last element, if there is any, an object of what says in which order work is served: `ageing`, `stretch`. A
-- scope that is not named takes its template's rules (`loop:*`), with state of its own. What else
-- holds a scope (it is paused, say) stands among its limits as long as it does. Versions
-- are kept, because work that was charged under one is settled under the same one.
local definitions = {scopes = {}, rules = {}}
-- Where no more scopes than this are named, they are read at once.
local FEW_SCOPES = 32
local NO_RULES = {}

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

local function rules_of(name)
  local rules = definitions.rules[name]
  if rules == nil then
    local json = json_of(name)
    rules = json and cjson.decode(json) or false
    local last = rules and rules[#rules]
    if last and not last[1] then
      rules.order, rules[#rules] = last, nil
    end
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
    local limits, rules = {}, rules_of(name) or template and rules_of(template) or NO_RULES
    for i, rule in ipairs(rules) do
      limits[i] = ledger.limit(name, rule)
    end
    regulated.join(name, limits, limits)
    scope = {name = name, limits = limits, order = rules.order or NO_RULES, cap = rules.order and rules.order.cap}
    definitions.scopes[name] = scope
  end
  return scope
end
