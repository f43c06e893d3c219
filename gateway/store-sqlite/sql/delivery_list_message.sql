-- delivery_list_message: up to ?2 live deliveries of message ?1, each with the head of its order key if it
-- waits behind that.
SELECT d.message, d.no, d.port, d.state, d.transport, d.attempts, d.due, d.instance, d.in_doubt, d.rendered,
  d.failure, h.message, h.no
FROM delivery d
LEFT JOIN delivery h ON d.state <> 3 AND (h.message, h.no) = (
  SELECT e.message, e.no FROM delivery e
  WHERE e.port = d.port AND e.order_key = d.order_key AND e.seq < d.seq ORDER BY e.seq LIMIT 1)
WHERE d.message = ?1 ORDER BY d.no LIMIT ?2
