-- include: line.lua
--
-- Gives up a place in a line. If it was the head, the next has its turn.
--
-- KEYS realm: the realm's prefix
-- ARGV now_us: microseconds; '' lets the server decide
-- ARGV queue: the line's name
-- ARGV waiter: who leaves
--
-- Returns how many wait there still.
local here = line.at(queue)
line.leave(here, waiter)
line.keep(here)
return redis.call('ZCARD', here.key)
