-- group_move: $4, $5, $6 as in group_control.
WITH said AS (
  INSERT INTO cluster_group AS c (name, order_no, order_to, order_at) VALUES ($1, 1, $2, $3)
  ON CONFLICT (name) DO UPDATE
  SET order_no = c.order_no + 1, order_to = excluded.order_to, order_at = excluded.order_at
  RETURNING name, order_no
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, grp, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, $4::text, '', '', $5::text, ARRAY[$6::text] FROM said
)
SELECT order_no, pg_notify('quayside_cluster', '') FROM said
