-- delivery_claim: the ready delivery ?1, ?2 goes to instance ?3.
UPDATE delivery SET state = 1, instance = ?3, token = token + 1
WHERE message = ?1 AND no = ?2 AND state = 0
RETURNING port, transport, attempts, token, in_doubt, lane, order_key, rendered, exchange
