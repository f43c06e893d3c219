-- delivery_claim: the ready or held delivery ?1, ?2 goes to instance ?3; ?4: nothing of it is sent before a mark.
UPDATE delivery SET state = 1, instance = ?3, token = token + 1,
  unsent = CASE WHEN ?4 THEN token + 1 ELSE 0 END
WHERE message = ?1 AND no = ?2 AND state IN (0, 2)
RETURNING port, transport, attempts, token, in_doubt, lane, order_key, rendered, exchange, deaths
