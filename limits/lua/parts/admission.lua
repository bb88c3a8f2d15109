-- include: account.lua
-- include: decide.lua
--
-- Admits or refuses one call, and says so as acquire.lua does.
local function admission(names, packed, cost, holder, deadline, behind)
  local limits, scopes = account(names, packed)
  local allowed, binding, retry_after = decide(limits, scopes, cost, holder, deadline, behind)

  ledger.save()
  if not binding then
    return {allowed, 0, 0, 0, 0, now}
  end
  if not binding.position then
    return {allowed, 0, 0, retry_after, retry_after, now, binding.scope, binding.rule.id}
  end
  return {allowed, binding.position, ledger.remaining(binding), retry_after, ledger.reset_at(binding) - now, now}
end
