-- run_claim_deadly: as run_claim, of what holders have died over: by an index that holds nothing else, those with the
-- fewest deaths first.
WITH me AS MATERIALIZED (
  SELECT now_us() AS now FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $1 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), ready AS MATERIALIZED (
  SELECT w.orchestration, f.id
  FROM me CROSS JOIN unnest($2::text[], $3::int[], $4::text[], $5::int[], $6::int[])
       AS w(orchestration, room, excepted, least, most)
  CROSS JOIN LATERAL (
    SELECT r.id FROM run r WHERE r.state = 0 AND r.deaths > 0 AND r.orchestration = w.orchestration
      AND strpos(w.excepted, encode(r.definition, 'hex')) = 0 AND r.deaths >= w.least AND r.deaths <= w.most
    ORDER BY r.orchestration, r.state, r.deaths LIMIT w.room
    FOR UPDATE SKIP LOCKED) f
), due AS MATERIALIZED (
  SELECT f.id
  FROM me CROSS JOIN unnest($2::text[], $3::int[], $4::text[], $5::int[], $6::int[])
       AS w(orchestration, room, excepted, least, most)
  CROSS JOIN LATERAL (
    SELECT r.id FROM run r WHERE r.state = 2 AND r.deaths > 0 AND r.orchestration = w.orchestration AND r.due <= me.now
      AND strpos(w.excepted, encode(r.definition, 'hex')) = 0 AND r.deaths >= w.least AND r.deaths <= w.most
    ORDER BY r.orchestration, r.state, r.deaths
    LIMIT w.room - (SELECT count(*) FROM ready x WHERE x.orchestration = w.orchestration)
    FOR UPDATE SKIP LOCKED) f
)
UPDATE run r SET state = 1, instance = $1, token = r.token + 1, since = me.now
FROM me, (SELECT id FROM ready UNION ALL SELECT id FROM due) c WHERE r.id = c.id AND r.state + 0 IN (0, 2)
RETURNING r.id, r.token, r.orchestration, r.definition, r.data, r.wakes, r.ordered, r.deaths, me.now
