-- dedupe_insert: tries to take the keys and names those that somebody else has. The database's clock picks
-- the slice; for 60 s around a boundary the slices of both sides are written, because commits overlap
-- it. Who wrote less than it wanted, or wanted nothing because the previous slice has its key, had
-- somebody before it. The winner is read by a second statement: this one's snapshot shows nothing of it.
WITH clock AS MATERIALIZED (SELECT now_us() AS now, now_us() / 1000000 AS secs),
item AS MATERIALIZED (
  SELECT k.key, k.fingerprint, k.message, k.exchange,
         (k.secs << 32) | (c.secs / k.secs) AS slice,
         c.secs % k.secs AS age, k.secs, c.now
  FROM unnest($1::bytea[], $2::bytea[], $3::uuid[], $4::uuid[], $5::bigint[])
       AS k(key, fingerprint, message, exchange, secs), clock c
),
target AS MATERIALIZED (
  SELECT i.*, i.slice + step AS into_slice
  FROM item i, generate_series(-1, 1) AS step
  WHERE (step = 0 OR (step = -1 AND i.age < 60) OR (step = 1 AND i.age >= i.secs - 60))
    AND NOT EXISTS (SELECT FROM dedupe d WHERE d.slice = i.slice - 1 AND d.key = i.key)
),
written AS (
  INSERT INTO dedupe (slice, key, fingerprint, message, stored_at, exchange)
  SELECT into_slice, key, fingerprint, message, now, exchange FROM target ORDER BY into_slice, key
  ON CONFLICT DO NOTHING
  RETURNING key
),
counted AS (
  SELECT key, slice, 0 AS wanted, 0 AS wrote FROM item
  UNION ALL SELECT key, slice, 1, 0 FROM target
  UNION ALL SELECT key, 0, 0, 1 FROM written
)
SELECT key, max(slice) AS slice, sum(wrote) > 0 AS wrote FROM counted
GROUP BY key HAVING sum(wrote) = 0 OR sum(wrote) < sum(wanted)
