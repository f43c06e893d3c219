-- message_show: the message ?1 with its context.
SELECT m.id, m.received_at, m.origin, m.type,
  coalesce((SELECT p.len FROM part p WHERE p.message = m.id AND p.no = 0), 0), m.fanout,
  (SELECT count(*) FROM delivery d WHERE d.message = m.id),
  (SELECT count(*) FROM delivery d WHERE d.message = m.id AND d.state = 3),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'terminated'),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'consumed'
    AND instr(h.detail, ': published as failed message ') > 0),
  m.context, (SELECT p.content_type FROM part p WHERE p.message = m.id AND p.no = 0), m.config_version
FROM message m WHERE m.id = ?1
