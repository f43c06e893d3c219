-- lanes_fix: port ?1 has ?2 lanes from now on, unless another count is in use by its live deliveries or by
-- a live instance other than ?3.
INSERT INTO ordered_port (port, lanes) VALUES (?1, ?2)
ON CONFLICT (port) DO UPDATE SET lanes = excluded.lanes
WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.port = ?1 AND d.order_key IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM instance i JOIN session s ON s.id = i.session
                  WHERE i.id <> ?3 AND i.state = 0 AND s.live = 1)
