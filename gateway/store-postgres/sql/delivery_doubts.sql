-- delivery_doubts: in doubt, by their own index, in the order of ids, after ($1, $2); of the ports $4 alone.
SELECT d.message, d.no, d.port, d.state, d.transport, d.attempts, d.due, d.instance, d.in_doubt, d.rendered,
       d.failure, d.doubt, m.context
FROM delivery d JOIN message m ON m.id = d.message
WHERE d.in_doubt AND (d.message, d.no) > ($1, $2::int) AND ($4::text[] IS NULL OR d.port = ANY ($4))
ORDER BY d.message, d.no LIMIT $3::bigint
