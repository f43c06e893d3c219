-- message_list: the newest ?6 messages before id ?1: ?2 origin or what stands before one of its dots,
-- ?3 type, received from ?4 and before ?5. ?7 to ?9 are of message_list_live.
SELECT m.id, m.received_at, m.origin, m.type,
  coalesce((SELECT p.len FROM part p WHERE p.message = m.id AND p.no = 0), 0), m.fanout,
  (SELECT count(*) FROM delivery d WHERE d.message = m.id),
  (SELECT count(*) FROM delivery d WHERE d.message = m.id AND d.state = 3),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'terminated'),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'consumed'
    AND instr(h.detail, ': published as failed message ') > 0)
FROM message m WHERE m.id < ?1
  AND (?2 IS NULL OR m.origin = ?2
    OR (substr(m.origin, 1, length(?2)) = ?2
      AND (?2 LIKE '%.' OR substr(m.origin, length(?2) + 1, 1) IN ('.', '/'))))
  AND (?3 IS NULL OR m.type = ?3) AND m.received_at >= ?4 AND m.received_at < ?5
  AND ?7 IS NULL AND ?8 IS NULL AND ?9 IS NULL
ORDER BY m.id DESC LIMIT ?6
