-- delivery_preceded: whether a delivery of the port of ?1, ?2 that was accepted before it waits or is in hand, untried.
SELECT 1 FROM delivery me WHERE me.message = ?1 AND me.no = ?2 AND (
  EXISTS (SELECT 1 FROM delivery d WHERE d.state = 1 AND d.port = me.port AND d.attempts = 0 AND d.seq < me.seq)
  OR EXISTS (SELECT 1 FROM (
    SELECT r.attempts, r.seq FROM delivery r WHERE r.state = 0 AND r.port = me.port ORDER BY r.rank LIMIT 500) d
    WHERE d.attempts = 0 AND d.seq < me.seq))
