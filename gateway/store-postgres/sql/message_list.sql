-- message_list: newest first, below $1.
SELECT m.id, m.received_at, m.stored_at, m.origin, m.type, m.body_len, m.fanout,
       (SELECT count(*) FROM delivery d WHERE d.message = m.id) AS live,
       (SELECT count(*) FROM delivery d WHERE d.message = m.id AND d.state = 3) AS suspended,
       (SELECT count(*) FROM history h WHERE h.message = m.id AND h.at >= m.stored_at
        AND h.event = 'terminated') AS terminated,
       (SELECT count(*) FROM history h WHERE h.message = m.id AND h.at >= m.stored_at
        AND h.event = 'consumed'
        AND strpos(h.detail, ': published as failed message ') > 0) AS failed
FROM message m
WHERE m.id < $1
  AND ($3::text IS NULL OR m.origin = $3 OR starts_with(m.origin, $3 || '.'))
  AND ($4::text IS NULL OR m.type = $4)
  AND ($5::bigint IS NULL OR m.received_at >= $5)
  AND ($6::bigint IS NULL OR m.received_at < $6)
ORDER BY m.id DESC LIMIT $2::bigint
