-- delivery_list_message: up to $2 live deliveries of a message, each with the head of its order key if it
-- waits behind that.
SELECT d.message, d.no, d.port, d.state, d.transport, d.attempts, d.due, d.instance, d.in_doubt, d.rendered,
       d.failure, h.message AS behind, h.no AS behind_no
FROM delivery d
LEFT JOIN LATERAL (SELECT e.message, e.no FROM delivery e
                   WHERE e.port = d.port AND e.order_key = d.order_key AND e.seq < d.seq
                   ORDER BY e.seq LIMIT 1) h ON d.state NOT IN (3, 5)
WHERE d.message = $1 ORDER BY d.no LIMIT $2::bigint
