-- delivery_list: up to ?9 live deliveries behind ?1, ?2 in the order of ids: ?3 to ?4 message,
-- ?5 or ?6 state, ?7 port, ?8 in_doubt.
SELECT message, no, port, state, transport, attempts, due, instance, in_doubt, rendered, failure
FROM delivery
WHERE (message, no) > (?1, ?2) AND message BETWEEN ?3 AND ?4
  AND (?5 IS NULL OR state IN (?5, ?6)) AND (?7 IS NULL OR port = ?7) AND (?8 IS NULL OR in_doubt = ?8)
ORDER BY message, no LIMIT ?9
