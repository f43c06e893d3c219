-- delivery_release_dead: the delivery ?1, ?2 of a dead owner is ready, ?3 as one that may have been sent.
UPDATE delivery SET state = 0, instance = NULL, attempts = attempts + ?3, in_doubt = in_doubt OR ?3,
  deaths = deaths + 1
WHERE message = ?1 AND no = ?2 AND state = 1
