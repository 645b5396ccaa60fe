-- The fence of the last purge, whatever it meant. KEYS: barrier, purged.
return last_purge(KEYS[1], KEYS[2])
