-- exchange_insert: opens the request ?1 of message ?2, kept until ?3, for the run ?4 if there is one, under a lease of ?5 until
-- ?6 for attempt ?7 with the token ?8 if there is one. A run that asks once more has the row of the new message then: without
-- an answer, unless it is work under a lease; one that has come after the run had closed it is gone.
-- Of any other conflict comes a row without a message, which the table refuses.
INSERT INTO exchange (id, message, keep_until, run, lease, lease_until, attempt, token) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
ON CONFLICT (id) DO UPDATE SET
  message = CASE WHEN exchange.run = excluded.run OR (exchange.run IS NULL AND exchange.token IS NOT NULL) THEN excluded.message END,
  keep_until = excluded.keep_until, run = excluded.run, lease = excluded.lease, attempt = excluded.attempt, token = excluded.token,
  lease_until = CASE WHEN exchange.run = excluded.run AND excluded.lease IS NOT NULL AND exchange.answered_at IS NOT NULL
    THEN exchange.lease_until ELSE excluded.lease_until END,
  answered_at = CASE WHEN exchange.run = excluded.run AND excluded.lease IS NOT NULL THEN exchange.answered_at END,
  status = CASE WHEN exchange.run = excluded.run AND excluded.lease IS NOT NULL THEN exchange.status END,
  content_type = CASE WHEN exchange.run = excluded.run AND excluded.lease IS NOT NULL THEN exchange.content_type END,
  bytes = CASE WHEN exchange.run = excluded.run AND excluded.lease IS NOT NULL THEN exchange.bytes END
