-- Two counters over a window that moves along, in one key: (start, first, second) of each tenth of the
-- window, oldest first. A tenth leaves as a whole. At most eleven of them, so everything is O(1).
local CELLS_OF_WINDOW = 10
local CELL_BYTES = 24
local tally = {}

-- What counts now, and both sums.
function tally.read(name, window)
  local packed, cells, sums = redis.call('GET', name) or '', {}, {0, 0}
  for at = 1, #packed, CELL_BYTES do
    local start, first, second = struct.unpack('<ddd', packed, at)
    if start > now - window then
      cells[#cells + 1] = {start, first, second}
      sums[1], sums[2] = sums[1] + first, sums[2] + second
    end
  end
  return cells, sums
end

-- Adds one to the first counter or to the second (`which`). Returns both sums after it.
function tally.count(name, window, which)
  local cells, sums = tally.read(name, window)
  local start, last = now - now % math.max(1, math.floor(window / CELLS_OF_WINDOW)), cells[#cells]
  -- If the clock runs backwards, the newest cell counts.
  if not last or last[1] < start then
    last = {start, 0, 0}
    cells[#cells + 1] = last
  end
  last[which + 1], sums[which] = last[which + 1] + 1, sums[which] + 1
  for at, cell in ipairs(cells) do
    cells[at] = struct.pack('<ddd', unpack(cell))
  end
  redis.call('SET', name, table.concat(cells), 'PX', ttl_until(last[1] + window))
  return sums
end
