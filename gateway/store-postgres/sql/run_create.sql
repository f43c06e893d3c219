-- run_create: runs are born in the hands of the instance $1, under the token 1. One that is there already is left to
-- run_create_again.
INSERT INTO run (id, started_at, changed_at, since, due, token, state, instance, orchestration, definition, reason, data)
SELECT s.run, $2::bigint, $2, $2, CASE WHEN s.status < 4 THEN s.due END, 1,
       CASE WHEN s.status > 2 THEN s.status WHEN s.hold THEN 1 WHEN s.again OR s.wakes <> 0 THEN 0 ELSE 2 END,
       CASE WHEN s.status <= 2 AND s.hold THEN $1::uuid END, s.orchestration, s.definition, s.reason,
       CASE WHEN s.status < 4 THEN coalesce(s.data, '') END
FROM unnest($3::uuid[], $4::bytea[], $5::smallint[], $6::boolean[], $7::bigint[], $8::bigint[], $9::text[], $10::boolean[],
            $11::text[], $12::bytea[])
     AS s(run, data, status, hold, wakes, due, reason, again, orchestration, definition)
ON CONFLICT (id) DO NOTHING
RETURNING id, state
