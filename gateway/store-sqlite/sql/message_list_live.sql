-- message_list_live: as message_list, of those with a live delivery in state ?7 or ?8 for port ?9.
SELECT m.id, m.received_at, m.origin, m.type,
  coalesce((SELECT p.len FROM part p WHERE p.message = m.id AND p.no = 0), 0), m.fanout,
  (SELECT count(*) FROM delivery d WHERE d.message = m.id),
  (SELECT count(*) FROM delivery d WHERE d.message = m.id AND d.state = 3),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'terminated'),
  (SELECT count(*) FROM history h WHERE h.message = m.id AND h.event = 'consumed'
    AND instr(h.detail, ': published as failed message ') > 0)
FROM (SELECT DISTINCT l.message FROM delivery l WHERE l.message < ?1
  AND (?7 IS NULL OR l.state IN (?7, ?8)) AND (?9 IS NULL OR l.port = ?9)
  ORDER BY l.message DESC) live
JOIN message m ON m.id = live.message
WHERE (?2 IS NULL OR m.origin = ?2
    OR (substr(m.origin, 1, length(?2)) = ?2
      AND (?2 LIKE '%.' OR substr(m.origin, length(?2) + 1, 1) IN ('.', '/'))))
  AND (?3 IS NULL OR m.type = ?3) AND m.received_at >= ?4 AND m.received_at < ?5
ORDER BY m.id DESC LIMIT ?6
