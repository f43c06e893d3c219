-- delivery_list_message
SELECT message, no, port, state, transport, attempts, due, instance, in_doubt, rendered, failure
FROM delivery WHERE message = $1 ORDER BY no
