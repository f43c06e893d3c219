-- run_ready: up to ?2 runs of orchestration ?1 that have something to do, ready longest first.
SELECT id FROM run WHERE state = 0 AND orchestration = ?1 ORDER BY changed_at LIMIT ?2
