-- body_check: whether the body ?1 is open under instance ?2 with ?3 chunks of ?4 bytes in all.
SELECT 1 FROM body b WHERE b.id = ?1 AND b.state = 0 AND b.instance = ?2
  AND (SELECT count(*) FROM chunk WHERE body = ?1) = ?3
  AND (SELECT coalesce(sum(length(bytes)), 0) FROM chunk WHERE body = ?1) = ?4
