-- run_order: leaves an order and wakes the run, whatever it waits for.
WITH target AS MATERIALIZED (
  SELECT id, state FROM run WHERE id = $1 FOR UPDATE
), ordered AS (
  UPDATE run r SET ordered = $2, wakes = r.wakes + 1, ordered_wakes = r.wakes + 1,
         since = CASE WHEN r.state IN (2, 3) THEN now_us() ELSE r.since END,
         state = CASE WHEN r.state IN (2, 3) THEN 0 ELSE r.state END
  FROM target t WHERE r.id = t.id AND t.state < 4
)
SELECT state FROM target
