-- run_step: what steps make of the rows of their runs, each under its token. status: 2 active, 3 suspended, 4 completed, 5
-- terminated. hold: it stays in hand, unless an order stays. wakes: those that were seen; an order that came after them stays,
-- and any that stays is something to do. again: it has something to do at once. Runs that do not come back: their claims do not
-- hold.
UPDATE run r SET changed_at = $2::bigint, due = CASE WHEN s.status < 4 THEN s.due END, reason = s.reason,
  deaths = CASE WHEN s.data IS NULL AND s.status = 2 THEN r.deaths ELSE 0 END,
  data = CASE WHEN s.status < 4 THEN coalesce(s.data, r.data) END,
  ordered = CASE WHEN s.status < 4 AND NOT (s.ordered AND r.ordered_wakes <= s.wakes) THEN r.ordered END,
  state = CASE WHEN s.status >= 4 THEN s.status
               WHEN r.ordered IS NOT NULL AND NOT (s.ordered AND r.ordered_wakes <= s.wakes) THEN 0
               WHEN s.status <= 2 AND s.hold THEN 1
               WHEN s.status = 3 THEN 3 WHEN s.again OR r.wakes <> s.wakes THEN 0 ELSE 2 END,
  instance = CASE WHEN s.status <= 2 AND s.hold AND (r.ordered IS NULL OR s.ordered AND r.ordered_wakes <= s.wakes)
                  THEN r.instance END,
  since = CASE WHEN s.status <= 2 AND s.hold AND (r.ordered IS NULL OR s.ordered AND r.ordered_wakes <= s.wakes)
               THEN r.since ELSE $2 END
FROM unnest($3::uuid[], $4::bytea[], $5::smallint[], $6::boolean[], $7::bigint[], $8::bigint[], $9::text[], $10::boolean[],
            $11::int[], $12::boolean[])
     AS s(run, data, status, hold, wakes, due, reason, again, token, ordered)
WHERE r.id = s.run AND (r.state, r.instance, r.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, s.token)
RETURNING r.id, r.state
