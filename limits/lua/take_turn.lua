-- include: clock.lua
-- include: keys.lua
-- include: admission.lua
-- include: line.lua
--
-- Stands in a line, and charges every limit or none when it is one's turn. Whoever is admitted or
-- gives up leaves the line, and the next has its turn, in the same call: there is no moment in which
-- units are free and nobody who waits knows it, and none in which a newcomer could take them.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV holder: who takes the slots in flight
-- ARGV lease_us: microseconds that a slot lasts
-- ARGV requests: units for limits that count requests
-- ARGV tokens: units for limits that count tokens
-- ARGV queue: the line's name
-- ARGV waiter: who stands in it
-- ARGV ticket: of the place that it has or had; '' for none
-- ARGV stays: '1' to wait if it is refused; '' to leave then, or to pass by without waiting
-- ARGV early: 'scope id' of each limit that may open before its time, '' of each other one, with \31 after each
-- ARGV look_us: microseconds after which a head looks again at a limit that may open before its time
-- ARGV scope_names: of the account, with \31 between them
-- ARGV packed_limits: of the account, as parts/account.lua reads them
--
-- Returns {decision, ticket, ahead, look_after_us}: what acquire.lua returns; the place, '' for none;
-- how many stand before it, 0 for one's turn; when the head has to come back, which has GRACE to do so.
-- A line expires a minute after its head has to have come back.
local here = line.at(queue)
if stays ~= '' then
  ticket = line.join(here, waiter, ticket)
end
local head = line.head(here, waiter)
local is_my_turn = not head or head == waiter
local behind = is_my_turn and '' or queue

local cost = {requests = tonumber(requests), tokens = tonumber(tokens)}

local function list(names)
  local found = {}
  for name in string.gmatch(names, '([^\31]*)\31') do
    found[#found + 1] = name
  end
  return found
end

local decision = admission(scope_names, packed_limits, cost, holder, now + tonumber(lease_us), behind)
if decision[1] == 1 or stays == '' then
  line.leave(here, waiter)
  line.keep(here)
  return {decision, '', 0, 0}
end
local look_after = decision[4]
if is_my_turn then
  local awaited = list(early)[decision[2]]
  if awaited ~= '' then
    look_after = math.min(look_after, tonumber(look_us))
  end
  if awaited and awaited ~= '' then
    line.await(here, awaited)
  end
  line.give_turn(here, waiter, now + math.max(0, look_after))
end
line.keep(here)
return {decision, ticket, redis.call('ZRANK', here.key, waiter), look_after}
