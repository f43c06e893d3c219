-- dedupe_delete: hops from window length to window length; each has its dead slices in front. The time is
-- read once: now_us() within the bound of the slices would be read for each row, and so every key too.
WITH RECURSIVE clock AS MATERIALIZED (SELECT now_us() / 1000000 AS secs), secs AS (
  (SELECT slice >> 32 AS s FROM dedupe ORDER BY slice LIMIT 1)
  UNION ALL
  SELECT (SELECT d.slice >> 32 FROM dedupe d WHERE d.slice >= (w.s + 1) << 32 ORDER BY d.slice LIMIT 1)
  FROM secs w WHERE w.s IS NOT NULL
), old AS MATERIALIZED (
  SELECT d.slice, d.key FROM clock c CROSS JOIN secs w
  CROSS JOIN LATERAL (
    SELECT slice, key FROM dedupe
    WHERE slice >= w.s << 32 AND slice < ((w.s << 32) | (c.secs / w.s)) - 1
    ORDER BY slice, key LIMIT $1::bigint) d
  WHERE w.s IS NOT NULL
  LIMIT $1::bigint
), gone AS (
  DELETE FROM dedupe d USING old o WHERE d.slice = o.slice AND d.key = o.key RETURNING 1
)
SELECT count(*) FROM gone
