-- run_asked: the exchanges of the run ?1, each with the state and failure of its live delivery, if it has one, and
-- how the last delivery of its message ended.
SELECT x.id, x.message, x.answered_at, x.status, x.content_type, x.bytes, d.state, d.failure,
  (SELECT h.event FROM history h WHERE h.message = x.message
    AND h.event IN ('sent', 'sent-by-backup', 'consumed', 'terminated') ORDER BY h.id DESC LIMIT 1)
FROM exchange x LEFT JOIN delivery d ON d.message = x.message AND d.exchange = x.id
WHERE x.run = ?1 AND x.run IS NOT NULL ORDER BY x.id
