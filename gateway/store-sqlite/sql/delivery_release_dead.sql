-- delivery_release_dead: the delivery ?1, ?2 of a dead owner is ready, as one that may have been sent.
UPDATE delivery SET state = 0, instance = NULL, attempts = attempts + 1, in_doubt = 1
WHERE message = ?1 AND no = ?2 AND state = 1
