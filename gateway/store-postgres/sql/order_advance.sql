-- order_advance: the first delivery of each key is no longer behind anything. One by one on purpose:
-- further ones would only be parked again, because the first of them is still in hand. The place of a row that is
-- locked stays right, and a join by it is short whatever the planner believes of the table.
WITH first AS MATERIALIZED (
  SELECT f.place, f.state
  FROM (SELECT DISTINCT port, key FROM unnest($1::text[], $2::bytea[]) AS k(port, key)) k
  CROSS JOIN LATERAL (
    SELECT d.ctid AS place, d.state FROM delivery d WHERE d.port = k.port AND d.order_key = k.key
    ORDER BY d.seq LIMIT 1 FOR UPDATE) f
)
UPDATE delivery d SET state = 0
FROM first f WHERE f.state = 2 AND d.ctid = f.place AND d.state + 0 = 2
