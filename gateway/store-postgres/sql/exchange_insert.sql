-- exchange_insert: two messages cannot open the same request, but for a run that asks once more: the row is that of the
-- new message then, without an answer. A rerun never comes here.
-- Of any other conflict comes a row without a message, which the table refuses.
INSERT INTO exchange (id, message, keep_until, run)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[]) AS e(id, message, keep_until, run)
ORDER BY id
ON CONFLICT (id) DO UPDATE SET message = CASE WHEN exchange.run = excluded.run THEN excluded.message END, keep_until = excluded.keep_until,
  answered_at = NULL, status = NULL, content_type = NULL, bytes = NULL
