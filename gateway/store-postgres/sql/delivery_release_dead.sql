-- delivery_release_dead: the mark, the attempt and the entry in history are one statement.
WITH dead AS MATERIALIZED (
  SELECT d.ctid AS place, d.instance
  FROM instance i JOIN session s ON s.id = i.session JOIN delivery d ON d.instance = i.id
  WHERE (i.state <> 0 OR NOT s.live) AND d.state = 1
  LIMIT $1::bigint
  FOR UPDATE OF d SKIP LOCKED
), released AS (
  UPDATE delivery d SET state = 0, instance = NULL, attempts = d.attempts + 1, in_doubt = true
  FROM dead x WHERE d.ctid = x.place AND d.state + 0 = 1
  RETURNING d.message, d.no, d.port, d.attempts, x.instance
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, 'released', attempts, 'held by ' || instance || ', which is dead'
  FROM released
)
SELECT count(*) FROM released
