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
-- ARGV time: microseconds, for the verbs that take one: a deadline, or a time in the past
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
ledger.apply(verb, {{limits = account(scope_names, packed_limits)}}, {requests = tonumber(units), tokens = 0}, '', tonumber(time))
ledger.save()
