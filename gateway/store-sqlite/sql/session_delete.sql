-- session_delete: up to ?2 ended sessions whose lease ran out before ?1 and that no instance names.
DELETE FROM session WHERE id IN (
  SELECT s.id FROM session s WHERE s.live = 0 AND s.lease_until < ?1
    AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.session = s.id)
  LIMIT ?2)
