-- run_delete: up to ?2 runs that were over before ?1.
DELETE FROM run WHERE id IN (SELECT id FROM run WHERE state >= 4 AND changed_at < ?1 ORDER BY changed_at LIMIT ?2)
