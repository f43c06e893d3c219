-- exchange_insert: two messages cannot open the same request; a rerun never comes here.
INSERT INTO exchange (id, message, keep_until)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS e(id, message, keep_until)
ORDER BY id
