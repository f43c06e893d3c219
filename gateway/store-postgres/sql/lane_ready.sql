-- lane_ready: locks those of the own lanes of these ports in which something is due, and no others: a batch
-- that ends or hands off in a lane waits for whoever claims from it. What becomes due in another lane after
-- this look is met by the next claim. LIMIT keeps it one short look into each lane.
SELECT l.port, l.no FROM lane l
CROSS JOIN LATERAL (
  SELECT FROM delivery r
  WHERE r.state = 0 AND r.order_key IS NOT NULL AND r.port = l.port AND r.lane = l.no
    AND r.due <= (SELECT now_us())
  LIMIT 1) r
WHERE l.port = ANY ($2::text[]) AND l.instance = $1
ORDER BY l.port, l.no
FOR UPDATE OF l
