-- include: clock.lua
-- include: keys.lua
-- include: account.lua
--
-- Applies one verb of the ledger, so that tests reach the verbs that only the scheduler uses.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV verb: such as 'hold'
-- ARGV units: units for limits that count requests
-- ARGV rules...: the account, as parts/account.lua reads it
ledger.apply(verb, {{limits = account(rules)}}, {requests = tonumber(units), tokens = 0}, '', now)
ledger.save()
