-- message_way
SELECT m.id, m.received_at, m.stored_at, m.origin, m.type, m.body_len, m.fanout,
       (SELECT count(*) FROM delivery d WHERE d.message = m.id) AS live,
       (SELECT count(*) FROM delivery d WHERE d.message = m.id AND d.state = 3) AS suspended,
       (SELECT count(*) FROM history h WHERE h.message = m.id AND h.at >= m.stored_at
        AND h.event = 'terminated') AS terminated,
       (SELECT count(*) FROM history h WHERE h.message = m.id AND h.at >= m.stored_at
        AND h.event = 'consumed'
        AND strpos(h.detail, ': published as failed message ') > 0) AS failed,
       m.context, m.content_type, m.config_version
FROM message m WHERE m.id = $1
