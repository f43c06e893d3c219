-- run_step: what a step of the run $3 under the token $10 makes of its row. $5: 2 active, 3 suspended, 4 completed, 5
-- terminated. $6: it stays in hand. $7: the wakes that were seen; an order that came after them stays, and any that stays
-- is something to do. $12: it has something to do at once. No row: the claim does not hold.
UPDATE run r SET changed_at = $2::bigint, due = CASE WHEN $5::smallint < 4 THEN $8::bigint END, reason = $9::text,
  data = CASE WHEN $5 < 4 THEN coalesce($4::bytea, r.data) END,
  ordered = CASE WHEN $5 < 4 AND NOT ($11::boolean AND r.ordered_wakes <= $7) THEN r.ordered END,
  state = CASE WHEN $5 >= 4 THEN $5 WHEN $5 <= 2 AND $6::boolean THEN 1
               WHEN r.ordered IS NOT NULL AND NOT ($11 AND r.ordered_wakes <= $7) THEN 0
               WHEN $5 = 3 THEN 3 WHEN $12::boolean OR r.wakes <> $7::bigint THEN 0 ELSE 2 END,
  instance = CASE WHEN $5 <= 2 AND $6 THEN r.instance END,
  since = CASE WHEN $5 <= 2 AND $6 THEN r.since ELSE $2 END
WHERE r.id = $3::uuid AND (r.state, r.instance, r.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, $10::int)
RETURNING r.id
