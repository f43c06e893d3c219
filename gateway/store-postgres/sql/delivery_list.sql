-- delivery_list: in the order of ids, after ($1, $2).
SELECT message, no, port, state, transport, attempts, due, instance, in_doubt, rendered, failure
FROM delivery
WHERE (message, no) > ($1, $2::int)
  AND ($4::smallint IS NULL OR state = $4)
  AND ($5::text IS NULL OR port = $5)
  AND ($6::uuid IS NULL OR message = $6)
  AND ($7::boolean IS NULL OR in_doubt = $7)
ORDER BY message, no LIMIT $3::bigint
