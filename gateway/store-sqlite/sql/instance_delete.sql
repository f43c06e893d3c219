-- instance_delete: up to ?2 dead instances from before ?1 that no claim names.
DELETE FROM instance WHERE id IN (
  SELECT i.id FROM instance i LEFT JOIN session s ON s.id = i.session
  WHERE i.since < ?1 AND (i.state <> 0 OR s.live IS NULL OR s.live <> 1)
    AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.state = 1 AND d.instance = i.id)
  LIMIT ?2)
