-- run_exchanges_end: closes what the runs $1, which are over, have asked. In the order of the messages, as in run_exchanges.
WITH target AS MATERIALIZED (
  SELECT x.id FROM unnest($1::uuid[]) AS r(id)
  CROSS JOIN LATERAL (SELECT id, message FROM exchange WHERE run = r.id OFFSET 0) f
  JOIN exchange x ON x.id = f.id
  ORDER BY x.message, x.id FOR UPDATE OF x
)
DELETE FROM exchange x USING target t WHERE x.id = t.id
