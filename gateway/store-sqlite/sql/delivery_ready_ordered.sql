-- delivery_ready_ordered: the first ?3 ready deliveries of the ordered port ?1 whose lane is not in the
-- hands of a live instance other than ?2.
SELECT d.message, d.no, d.lane, d.order_key FROM delivery d
WHERE d.port = ?1 AND d.state = 0 AND (d.lane IS NULL OR d.lane NOT IN (
  SELECT l.no FROM lane l JOIN instance i ON i.id = l.instance JOIN session s ON s.id = i.session
  WHERE l.port = ?1 AND l.instance <> ?2 AND i.state = 0 AND s.live = 1))
ORDER BY d.rank LIMIT ?3
