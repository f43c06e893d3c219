-- dedupe_next_window: the shortest window with a key at or behind the slice ?1.
SELECT slice >> 32 FROM dedupe WHERE slice >= ?1 ORDER BY slice LIMIT 1
