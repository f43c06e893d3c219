-- run_release_dead: gives back up to ?1 runs held by instances that are not live. Their steps are in the store or did
-- not happen, so that nothing of them is in doubt.
UPDATE run SET state = 0, instance = NULL, deaths = deaths + 1 WHERE id IN (
  SELECT r.id FROM run r LEFT JOIN instance i ON i.id = r.instance LEFT JOIN session s ON s.id = i.session
  WHERE r.state = 1 AND (i.state IS NULL OR i.state <> 0 OR s.live IS NULL OR s.live <> 1) LIMIT ?1)
