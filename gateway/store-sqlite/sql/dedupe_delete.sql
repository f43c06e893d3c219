-- dedupe_delete: up to ?3 keys of the slices from ?1 on and before ?2.
DELETE FROM dedupe WHERE (slice, key) IN (
  SELECT slice, key FROM dedupe WHERE slice >= ?1 AND slice < ?2 ORDER BY slice LIMIT ?3)
