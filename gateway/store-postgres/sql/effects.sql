-- effects: what came of the sends of the ports $2 since $1. The partitions of the days before are left out.
WITH recent AS MATERIALIZED (
  SELECT message, no, at, event, detail FROM history
  WHERE at >= $1::bigint - 60000000 AND port = ANY ($2::text[]) AND no IS NOT NULL
), ends AS (
  SELECT at, at - lag(at) OVER (ORDER BY at) AS gap FROM recent WHERE event IN ('sent', 'sent-by-backup')
), released AS (
  SELECT message, no, bool_or(detail LIKE '%; it may have been sent') AS doubtful
  FROM recent WHERE at >= $1 AND event = 'released' GROUP BY message, no
), fate AS (
  SELECT r.doubtful, d.message IS NOT NULL AS live, d.state = 3 AND d.in_doubt AS kept,
         EXISTS (SELECT FROM recent e WHERE e.message = r.message AND e.no = r.no
                 AND e.event IN ('sent', 'sent-by-backup', 'consumed', 'discarded', 'terminated')) AS ended
  FROM released r LEFT JOIN delivery d ON d.message = r.message AND d.no = r.no
)
SELECT (SELECT count(*) FROM ends WHERE at >= $1) AS ended, (SELECT max(at) FROM ends WHERE at >= $1) AS last,
       (SELECT max(gap) FROM ends WHERE at >= $1) AS longest,
       count(*) AS released, count(*) FILTER (WHERE doubtful) AS in_doubt,
       count(*) FILTER (WHERE doubtful AND kept) AS kept, count(*) FILTER (WHERE live) AS open,
       count(*) FILTER (WHERE NOT live AND NOT ended) AS lost
FROM fate
