-- run_asked: what has become of the messages with which the runs $1 opened exchanges. Those on their way are left out, but not
-- those under a lease, which has not `ended` for the sole reason that the message was delivered. A message that was consumed
-- has reached its target, unless that was because its failure was published.
SELECT x.run, x.id, x.message, x.answered_at, x.status, x.content_type, x.bytes, s.failure, e.event, e.failed,
       x.token, x.lease_until, x.answered_at IS NOT NULL OR coalesce(s.suspended, false)
         OR (s.live = 0 AND (x.token IS NULL OR coalesce(e.failed, false))) AS ended
FROM unnest($1::uuid[]) AS r(id)
CROSS JOIN LATERAL (SELECT * FROM exchange WHERE run = r.id OFFSET 0) x
LEFT JOIN LATERAL (
  SELECT count(*) AS live, min(d.failure) FILTER (WHERE d.state = 3) AS failure, bool_or(d.state = 3) AS suspended
  FROM delivery d WHERE d.message = x.message AND x.answered_at IS NULL) s ON true
LEFT JOIN LATERAL (
  SELECT h.event, h.event NOT IN ('sent', 'sent-by-backup', 'consumed')
                  OR strpos(h.detail, ': published as failed message ') > 0 AS failed
  FROM message m JOIN history h ON h.message = m.id AND h.at >= m.stored_at
  WHERE m.id = x.message AND s.live = 0 AND x.answered_at IS NULL
    AND h.event IN ('sent', 'sent-by-backup', 'consumed', 'discarded', 'terminated', 'unrouted')
  ORDER BY h.at DESC LIMIT 1) e ON true
WHERE x.answered_at IS NOT NULL OR s.live = 0 OR s.suspended OR x.token IS NOT NULL
ORDER BY x.run, x.id
