-- run_asked: the exchanges of the run ?1, each with the state and failure of its live delivery, if it has one, how the
-- last delivery of its message ended, whether that was because its failure was published, and its lease.
SELECT x.id, x.message, x.answered_at, x.status, x.content_type, x.bytes, d.state, d.failure, h.event,
  instr(h.detail, ': published as failed message ') > 0,
  x.token, x.lease_until
FROM exchange x LEFT JOIN delivery d ON d.message = x.message AND d.exchange = x.id
LEFT JOIN history h ON h.id = (SELECT max(e.id) FROM history e WHERE e.message = x.message
  AND e.event IN ('sent', 'sent-by-backup', 'consumed', 'discarded', 'terminated', 'unrouted'))
WHERE x.run = ?1 AND x.run IS NOT NULL ORDER BY x.id
