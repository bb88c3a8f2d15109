-- Names the keys of a realm. Every script gets the realm's prefix, hash tag included, as its first
-- key; limits/keys.py builds the same names for Python.
local function key(name)
  return realm .. ':' .. name
end
