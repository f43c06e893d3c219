-- run_inbox: the first $2 messages that wait for each of the runs $1.
SELECT r.id AS run, d.message, d.no, d.route FROM unnest($1::uuid[]) AS r(id)
CROSS JOIN LATERAL (
  SELECT message, no, route, seq FROM delivery
  WHERE run = r.id AND state + 0 = 5 AND route IS NOT NULL ORDER BY run, seq LIMIT $2::bigint) d
ORDER BY r.id, d.seq
