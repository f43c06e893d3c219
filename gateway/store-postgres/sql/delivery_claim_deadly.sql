-- delivery_claim_deadly: as delivery_claim, of what owners have died over: by an index that holds nothing else, those with the
-- fewest deaths first.
WITH me AS MATERIALIZED (
  SELECT i.id, now_us() AS now FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $1 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), found AS MATERIALIZED (
  SELECT w.port, w.room, w.marks, d.place, d.rank
  FROM me, unnest($2::text[], $3::int[], $4::bool[], $5::int[], $6::int[]) AS w(port, room, marks, least, most)
  CROSS JOIN LATERAL (
    SELECT r.ctid AS place, r.rank FROM delivery r
    WHERE r.state = 0 AND r.order_key IS NULL AND r.deaths > 0 AND r.port = w.port
      AND r.deaths >= w.least AND r.deaths <= w.most AND r.due <= me.now
    ORDER BY r.port, r.deaths LIMIT w.room
    FOR UPDATE SKIP LOCKED) d
), chosen AS (
  SELECT place, marks
  FROM (SELECT f.*, row_number() OVER (PARTITION BY port ORDER BY rank) AS turn FROM found f) f
  WHERE turn <= room
)
UPDATE delivery d SET state = 1, instance = $1, token = d.token + 1,
       unsent = CASE WHEN c.marks THEN d.token + 1 ELSE 0 END,
       begun = CASE WHEN c.marks THEN d.begun ELSE now_us() END
FROM chosen c WHERE d.ctid = c.place AND d.state + 0 = 0
RETURNING d.message, d.no, d.token, d.port, d.transport, d.attempts, d.rendered, d.lane, d.order_key,
          d.exchange, d.in_doubt, d.deaths, d.rank, d.seq, d.state
