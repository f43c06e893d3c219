-- delivery_claim_ordered: of what is due in the lanes $5, $6 ($4 rows a lane at most), heads of keys are
-- claimed; what stands behind a head is parked, so that no later claim walks over it again. The caller
-- owns and holds the lanes, and this is a later statement, so that its snapshot shows what their last holder
-- did.
WITH me AS MATERIALIZED (
  SELECT i.id, now_us() AS now FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $1 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), seen AS MATERIALIZED (
  SELECT w.port, w.room, d.place, d.rank, d.seq, d.order_key
  FROM me, unnest($2::text[], $3::int[]) AS w(port, room)
  JOIN unnest($5::text[], $6::int[]) AS l(port, no) ON l.port = w.port
  CROSS JOIN LATERAL (
    SELECT r.ctid AS place, r.rank, r.seq, r.order_key FROM delivery r
    WHERE r.state = 0 AND r.order_key IS NOT NULL AND r.port = l.port
      AND r.lane = l.no AND r.due <= me.now
    ORDER BY r.port, r.lane, r.due, r.seq LIMIT $4::int
    FOR UPDATE SKIP LOCKED) d
), judged AS MATERIALIZED (
  SELECT s.*, NOT EXISTS (SELECT FROM delivery e WHERE e.port = s.port
                          AND e.order_key = s.order_key AND e.seq < s.seq) AS head
  FROM seen s
), chosen AS (
  SELECT place, head
  FROM (SELECT j.*, row_number() OVER (PARTITION BY port, head ORDER BY rank, seq) AS turn
        FROM judged j) j
  WHERE NOT head OR turn <= room
)
UPDATE delivery d SET state = CASE WHEN c.head THEN 1 ELSE 2 END,
       instance = CASE WHEN c.head THEN $1::uuid END,
       token = d.token + CASE WHEN c.head THEN 1 ELSE 0 END,
       unsent = CASE WHEN c.head THEN d.token + 1 ELSE d.unsent END
FROM chosen c WHERE d.ctid = c.place AND d.state + 0 = 0
RETURNING d.message, d.no, d.token, d.port, d.transport, d.attempts, d.rendered, d.lane, d.order_key,
          d.exchange, d.in_doubt, d.deaths, d.rank, d.seq, d.state
