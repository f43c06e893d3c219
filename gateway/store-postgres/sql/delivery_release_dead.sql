-- delivery_release_dead: the mark, the attempt and the entry in history are one statement. What was claimed
-- but not sent is neither an attempt nor in doubt.
WITH dead AS MATERIALIZED (
  SELECT d.ctid AS place, d.instance, i.node, i.epoch, now_us() AS now
  FROM instance i JOIN session s ON s.id = i.session JOIN delivery d ON d.instance = i.id
  WHERE (i.state <> 0 OR NOT s.live) AND d.state = 1
  LIMIT $1::bigint
  FOR UPDATE OF d SKIP LOCKED
), released AS (
  UPDATE delivery d SET state = 0, instance = NULL, deaths = least(d.deaths, 32000) + 1,
         attempts = d.attempts + CASE WHEN d.unsent = d.token THEN 0 ELSE 1 END,
         in_doubt = d.in_doubt OR d.unsent <> d.token,
         doubt = CASE WHEN d.unsent = d.token THEN d.doubt ELSE json_build_object(
           'instance', x.instance, 'node', x.node, 'epoch', x.epoch,
           'begun', coalesce(d.begun, (SELECT m.stored_at FROM message m WHERE m.id = d.message)),
           'released', x.now)::text END
  FROM dead x WHERE d.ctid = x.place AND d.state + 0 = 1
  RETURNING d.message, d.no, d.port, d.attempts, x.instance, x.node, x.now, d.unsent <> d.token AS intended
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now, message, no, port, 'released', attempts,
         'held by ' || instance || ' on ' || node || ', which is dead; '
         || CASE WHEN intended THEN 'it may have been sent' ELSE 'it had not been sent' END
  FROM released
)
SELECT count(*) FROM released
