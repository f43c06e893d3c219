-- run_create: a run is born in the hands of the instance $1, under the token 1. A repeat of it changes it as run_step does,
-- if it is still so. No row: it is not.
INSERT INTO run AS r (id, started_at, changed_at, since, due, token, state, instance, orchestration, definition, reason,
                      data)
VALUES ($3, $2::bigint, $2, $2, CASE WHEN $5::smallint < 4 THEN $8::bigint END, 1,
        CASE WHEN $5 > 2 THEN $5 WHEN $6::boolean THEN 1 WHEN $12::boolean OR $7::bigint <> 0 THEN 0 ELSE 2 END,
        CASE WHEN $5 <= 2 AND $6 THEN $1::uuid END, $10, $11, $9,
        CASE WHEN $5 < 4 THEN coalesce($4::bytea, '') END)
ON CONFLICT (id) DO UPDATE SET changed_at = $2, data = excluded.data, due = excluded.due, reason = excluded.reason,
  state = CASE WHEN $5 >= 4 THEN $5 WHEN $5 <= 2 AND $6 THEN 1 WHEN r.ordered IS NOT NULL THEN 0
               WHEN $5 = 3 THEN 3 WHEN $12 OR r.wakes <> $7 THEN 0 ELSE 2 END,
  instance = excluded.instance, since = CASE WHEN $5 <= 2 AND $6 THEN r.since ELSE $2 END
WHERE (r.state, r.instance, r.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, 1)
RETURNING r.id
