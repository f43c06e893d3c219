-- exchange_insert: opens the request ?1 of message ?2, kept until ?3, for the run ?4 if there is one. A run that asks once
-- more has the row of the new message then, without an answer.
-- Of any other conflict comes a row without a message, which the table refuses.
INSERT INTO exchange (id, message, keep_until, run) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (id) DO UPDATE SET message = CASE WHEN exchange.run = excluded.run THEN excluded.message END, keep_until = excluded.keep_until,
  answered_at = NULL, status = NULL, content_type = NULL, bytes = NULL
