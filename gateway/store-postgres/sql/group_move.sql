-- group_move: $4, $5, $6 as in group_control; $7: a drill.
WITH said AS (
  INSERT INTO cluster_group AS c (name, order_no, order_to, order_at, order_kill, drill_at)
  VALUES ($1, 1, $2, $3, $7, CASE WHEN $7 THEN now_us() END)
  ON CONFLICT (name) DO UPDATE
  SET order_no = c.order_no + 1, order_to = excluded.order_to, order_at = excluded.order_at,
      order_kill = excluded.order_kill, drill_at = excluded.drill_at
  RETURNING name, order_no
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, grp, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, $4::text, '', '', $5::text, ARRAY[$6::text] FROM said
)
SELECT order_no, pg_notify('quayside_cluster', '') FROM said
