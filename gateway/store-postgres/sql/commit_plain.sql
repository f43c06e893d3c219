-- commit_plain: a whole commit of the common kind in one statement: publications that need nothing but their
-- keys, rows and deliveries, and ends. Statement by statement the same would be two trips, and each
-- statement costs server and gateway as much as the rows of two messages. No row: the instance is fenced.
-- What is not told as stored is left to the other way: its key is somebody else's, or a boundary of its
-- slice is near, where two slices have to be written.
WITH me AS MATERIALIZED (
  SELECT now_us() AS now FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $1 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), item AS MATERIALIZED (
  SELECT k.key, k.fingerprint, k.message, k.secs, me.now, me.now / 1000000 % k.secs AS age,
         (k.secs << 32) | (me.now / 1000000 / k.secs) AS slice
  FROM me, unnest($2::bytea[], $3::bytea[], $4::uuid[], $5::bigint[])
       AS k(key, fingerprint, message, secs)
), taken AS (
  INSERT INTO dedupe (slice, key, fingerprint, message, stored_at)
  SELECT slice, key, fingerprint, message, now FROM item i
  WHERE age >= 60 AND age < secs - 60
    AND NOT EXISTS (SELECT FROM dedupe d WHERE d.slice = i.slice - 1 AND d.key = i.key)
  ORDER BY slice, key
  ON CONFLICT DO NOTHING
  RETURNING message
), fresh AS MATERIALIZED (
  SELECT ARRAY(SELECT message FROM taken UNION ALL SELECT unnest($6::uuid[])) AS ids FROM me
), messages AS (
  INSERT INTO message (id, slot, received_at, stored_at, origin, type, context, config_version, fanout,
                       body_len, content_type)
  SELECT m.id, slot, received_at, me.now, origin, type, context, config_version, fanout, body_len,
         content_type
  FROM me, unnest($7::uuid[], $8::smallint[], $9::bigint[], $10::text[], $11::text[], $12::text[],
                  $13::bigint[], $14::int[], $15::bigint[], $16::text[])
    AS m(id, slot, received_at, origin, type, context, config_version, fanout, body_len, content_type)
  WHERE m.id = ANY ((SELECT ids FROM fresh)::uuid[])
  RETURNING id
), stored AS MATERIALIZED (
  -- Read by what follows, so that a message that is there already is met before its parts are.
  SELECT coalesce(array_agg(id), '{}') AS ids FROM messages
), parts AS (
  INSERT INTO part (message, no, name, content_type, len, bytes)
  SELECT * FROM unnest($17::uuid[], $18::int[], $19::text[], $20::text[], $21::bigint[], $22::bytea[])
    AS p(message, no, name, content_type, len, bytes)
  WHERE p.message = ANY ((SELECT ids FROM stored)::uuid[])
), deliveries AS (
  -- seq is in the order of the arrays, which is the order of acceptance.
  INSERT INTO delivery (seq, instance, token, message, no, slot, port, state, priority, rank, due, rendered)
  SELECT nextval('delivery_seq'), CASE WHEN d.state = 1 THEN $1::uuid END, 1,
         d.message, d.no, d.slot, d.port, d.state, d.priority, me.now + d.rank, me.now, d.rendered
  FROM me, unnest($23::uuid[], $24::int[], $25::smallint[], $26::text[], $27::smallint[], $28::smallint[],
                  $29::bigint[], $30::text[])
    AS d(message, no, slot, port, state, priority, rank, rendered)
  WHERE d.message = ANY ((SELECT ids FROM stored)::uuid[])
), ended AS (
  -- As in delivery_end.
  DELETE FROM delivery d
  USING (
    SELECT e.*, f.place, me.now
    FROM me, unnest($31::uuid[], $32::int[], $33::int[], $34::text[], $35::int[], $36::text[])
         AS e(message, no, token, event, attempts, detail)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = e.message AND no = e.no OFFSET 0) f) e
  WHERE d.ctid = e.place
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, e.token)
  RETURNING e.now, d.message, d.no, d.token, d.port, e.event, e.attempts, e.detail
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail) SELECT * FROM ended
), gone AS (
  SELECT coalesce(array_agg(message), '{}') AS messages, coalesce(array_agg(no), '{}') AS nos FROM ended
)
SELECT stored.ids AS stored, gone.messages AS ended, gone.nos AS ended_nos FROM me, stored, gone
