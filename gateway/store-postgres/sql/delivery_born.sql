-- delivery_born: the deliveries of messages stored by an earlier run that this instance holds from birth. One look into
-- the index for each message, see order_busy.
SELECT m.id AS message, d.no FROM unnest($2::uuid[]) AS m(id)
CROSS JOIN LATERAL (SELECT no, state, token, instance FROM delivery WHERE message = m.id OFFSET 0) d
WHERE d.state = 1 AND d.token = 1 AND d.instance = $1
ORDER BY m.id, d.no
