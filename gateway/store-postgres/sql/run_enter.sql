-- run_enter: the delivery $2, $3, claimed by $1 under the token $4, enters the run $5, which this group creates if $6, or
-- else the first one that has a key of $8. The key is held until the end of the transaction, and so is a run that is
-- known: neither ends meanwhile without having seen the delivery. One that is in a run already under this token, or has
-- ended there, is an entrance that was done before.
WITH held AS MATERIALIZED (
  SELECT d.state, d.instance, d.token, d.run FROM delivery d WHERE d.message = $2::uuid AND d.no = $3::int FOR UPDATE
), mine AS MATERIALIZED (
  SELECT FROM held WHERE (state, instance, token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, $4::int)
), known AS MATERIALIZED (
  SELECT r.id FROM mine CROSS JOIN run r WHERE r.id = $5::uuid AND r.state < 4 AND NOT $6::boolean FOR SHARE OF r
), keyed AS MATERIALIZED (
  SELECT s.run, k.route
  FROM mine CROSS JOIN unnest($8::bytea[], $9::text[]) WITH ORDINALITY AS k(key, route, turn)
  JOIN subscription s ON s.orchestration = $7::text AND s.key = k.key
  WHERE $5 IS NULL ORDER BY k.turn LIMIT 1 FOR KEY SHARE OF s
), found AS MATERIALIZED (
  SELECT $5 AS run, $10::text AS route FROM mine WHERE $6
  UNION ALL SELECT id, $10 FROM known
  UNION ALL SELECT run, route FROM keyed
), entered AS (
  UPDATE delivery d SET state = 5, instance = NULL, run = f.run, route = f.route, in_doubt = false, doubt = NULL
  FROM found f
  WHERE d.message = $2 AND d.no = $3
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, $4::int)
  RETURNING d.run
), woken AS (
  INSERT INTO run_wake (run) SELECT run FROM entered WHERE NOT $6
)
SELECT EXISTS (SELECT FROM mine) AS mine,
       coalesce((SELECT run FROM entered), (SELECT run FROM held WHERE state = 5 AND token = $4)) AS run,
       CASE WHEN NOT EXISTS (SELECT FROM held) THEN (
         SELECT h.detail FROM history h WHERE h.message = $2 AND h.no = $3 AND h.token = $4
         AND h.event IN ('consumed', 'discarded') LIMIT 1) END AS ended
