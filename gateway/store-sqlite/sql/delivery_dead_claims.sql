-- delivery_dead_claims: up to ?1 deliveries held by instances that are not live.
SELECT d.message, d.no, d.port, d.attempts, d.instance, d.unsent <> d.token FROM delivery d
WHERE d.state = 1 AND d.instance IN (
  SELECT DISTINCT c.instance FROM delivery c
  LEFT JOIN instance i ON i.id = c.instance LEFT JOIN session s ON s.id = i.session
  WHERE c.state = 1 AND (i.state IS NULL OR i.state <> 0 OR s.live IS NULL OR s.live <> 1))
LIMIT ?1
