-- delivery_release_dead: the mark, the attempt and the entry in history are one statement. What was claimed
-- but not sent is neither an attempt nor in doubt.
WITH dead AS MATERIALIZED (
  SELECT d.ctid AS place, d.instance
  FROM instance i JOIN session s ON s.id = i.session JOIN delivery d ON d.instance = i.id
  WHERE (i.state <> 0 OR NOT s.live) AND d.state = 1
  LIMIT $1::bigint
  FOR UPDATE OF d SKIP LOCKED
), released AS (
  UPDATE delivery d SET state = 0, instance = NULL,
         attempts = d.attempts + CASE WHEN d.unsent = d.token THEN 0 ELSE 1 END,
         in_doubt = d.in_doubt OR d.unsent <> d.token
  FROM dead x WHERE d.ctid = x.place AND d.state + 0 = 1
  RETURNING d.message, d.no, d.port, d.attempts, x.instance, d.unsent <> d.token AS intended
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, 'released', attempts, 'held by ' || instance || ', which is dead; '
         || CASE WHEN intended THEN 'it may have been sent' ELSE 'it had not been sent' END
  FROM released
)
SELECT count(*) FROM released
