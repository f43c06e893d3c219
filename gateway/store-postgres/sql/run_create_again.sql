-- run_create_again: a run that an earlier run of the group has created in the hands of the instance $1, under the token 1:
-- it is changed as run_step does. No row: it is not so any more.
UPDATE run r SET changed_at = $2::bigint, due = CASE WHEN $5::smallint < 4 THEN $8::bigint END, reason = $9::text,
  data = CASE WHEN $5 < 4 THEN coalesce($4::bytea, '') END,
  state = CASE WHEN $5 >= 4 THEN $5 WHEN r.ordered IS NOT NULL THEN 0 WHEN $5 <= 2 AND $6::boolean THEN 1
               WHEN $5 = 3 THEN 3 WHEN $10::boolean OR r.wakes <> $7::bigint THEN 0 ELSE 2 END,
  instance = CASE WHEN $5 <= 2 AND $6 AND r.ordered IS NULL THEN r.instance END,
  since = CASE WHEN $5 <= 2 AND $6 AND r.ordered IS NULL THEN r.since ELSE $2 END
WHERE r.id = $3::uuid AND (r.state, r.instance, r.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, 1)
RETURNING r.id, r.state
