-- report_write: what is written already is left alone, so that most looks write nothing. Under the newest
-- session of the node's agent. What is new is a hint: somebody may wait for a standby.
WITH told AS (
  INSERT INTO cluster_report AS r (grp, node, session, report, at)
  SELECT n.grp, $1::text, s.id, n.report, now_us()
  FROM unnest($2::text[], $3::text[]) n (grp, report),
       (SELECT id FROM session WHERE node = $1 AND live AND agent ORDER BY id DESC LIMIT 1) s
  WHERE NOT EXISTS (SELECT FROM cluster_report o
                    WHERE o.grp = n.grp AND o.node = $1 AND o.session = s.id AND o.report = n.report)
  ORDER BY n.grp
  ON CONFLICT (grp, node) DO UPDATE
  SET session = excluded.session, report = excluded.report, at = excluded.at
  RETURNING r.grp
)
SELECT pg_notify('quayside_cluster', '') FROM told
