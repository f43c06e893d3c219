-- body_abandon_dead: gives up to ?1 open bodies of dead instances up. Those of the living are being
-- written, however long that takes.
UPDATE body SET state = 2 WHERE id IN (
  SELECT b.id FROM body b
  LEFT JOIN instance i ON i.id = b.instance LEFT JOIN session s ON s.id = i.session
  WHERE b.state <> 1 AND b.state = 0 AND (i.state IS NULL OR i.state <> 0 OR s.live IS NULL OR s.live <> 1)
  LIMIT ?1)
