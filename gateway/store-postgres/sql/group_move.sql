-- group_move
WITH said AS (
  INSERT INTO cluster_group AS c (name, order_no, order_to, order_at) VALUES ($1, 1, $2, $3)
  ON CONFLICT (name) DO UPDATE
  SET order_no = c.order_no + 1, order_to = excluded.order_to, order_at = excluded.order_at
  RETURNING order_no
)
SELECT order_no, pg_notify('quayside_cluster', '') FROM said
