-- delivery_doubts: up to ?3 live deliveries in doubt behind ?1, ?2 in the order of ids, of the ports in the JSON list
-- ?4 alone, with the properties of the message, when a dead owner was last found to have held it or the store was restored,
-- and when it was restored.
SELECT d.message, d.no, d.port, d.state, d.transport, d.attempts, d.due, d.instance, d.in_doubt, d.rendered,
  d.failure, m.context,
  (SELECT max(h.at) FROM history h WHERE h.message = d.message AND h.no = d.no AND h.event = 'released'
   AND h.detail LIKE '%; it may have been sent'),
  (SELECT max(h.at) FROM history h WHERE h.message = d.message AND h.no = d.no AND h.event = 'released'
   AND h.detail = 'restored from a backup; it may have been sent')
FROM delivery d JOIN message m ON m.id = d.message
WHERE d.in_doubt = 1 AND (d.message, d.no) > (?1, ?2)
  AND (?4 IS NULL OR d.port IN (SELECT value FROM json_each(?4)))
ORDER BY d.message, d.no LIMIT ?3
