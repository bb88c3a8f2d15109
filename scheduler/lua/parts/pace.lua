-- Bounds the time of a call that does much, because the server serves nobody else meanwhile. What is written
-- when the call ends takes half as long again. A call that was told what time it is does the same whenever it is
-- made, so the number of its attempts alone bounds it.
local LONGEST_CALL = 2000
local LOOK_EVERY = 4
-- Where the server's clock stands still during a script and there is no other (Redis 7.2), so long for each question.
local GUESS = 40
local os = rawget(_G, 'os')
local began_at = os and os.clock()
local pace = {asked = 0, taken = 0}

local function elapsed()
  if os then
    return (os.clock() - began_at) * 1000000
  end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2] - now
end

-- Whether this share of the time is over.
function pace.is_over(share)
  pace.asked = pace.asked + 1
  if not virtual and pace.asked % LOOK_EVERY == 0 then
    pace.taken = elapsed()
    if pace.taken == 0 then
      pace.taken = pace.asked * GUESS
    end
  end
  return pace.taken >= share * LONGEST_CALL
end
