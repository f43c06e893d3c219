-- delivery_list_parked: as delivery_list, of held or suspended ones, by their own index.
SELECT message, no, port, state, transport, attempts, due, instance, in_doubt, rendered, failure
FROM delivery INDEXED BY delivery_parked
WHERE (message, no) > (?1, ?2) AND message BETWEEN ?3 AND ?4
  AND (?5 IS NULL OR state IN (?5, ?6)) AND (?7 IS NULL OR port = ?7) AND (?8 IS NULL OR in_doubt = ?8)
  AND state IN (2, 3)
ORDER BY message, no LIMIT ?9
