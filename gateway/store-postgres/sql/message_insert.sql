-- message_insert: messages with their parts and deliveries, one statement because each further one costs
-- the server as much as the rows of two messages. The messages are the main query, which is run first,
-- and without ON CONFLICT: one that is there already was stored by an earlier run of the batch; its
-- deliveries may have ended since and must not be born again, so the batch is run anew without it.
-- seq is in the order of the arrays, which is the order of acceptance. The token is 1 at birth, claimed
-- or not, so that a claim can never be taken for what was held since birth.
WITH parts AS (
  INSERT INTO part (message, no, name, content_type, len, bytes, body)
  SELECT * FROM unnest($13::uuid[], $14::int[], $15::text[], $16::text[], $17::bigint[], $18::bytea[],
                       $19::uuid[])
), deliveries AS (
  INSERT INTO delivery (seq, instance, token, message, no, slot, port, state, priority, rank, due, lane,
                        order_key, rendered, failure, exchange, run)
  SELECT nextval('delivery_seq'), CASE WHEN d.state = 1 THEN $20::uuid END,
         1, d.*
  FROM unnest($21::uuid[], $22::int[], $23::smallint[], $24::text[], $25::smallint[], $26::smallint[],
              $27::bigint[], $28::bigint[], $29::int[], $30::bytea[], $31::text[], $32::text[],
              $33::uuid[], $34::uuid[])
    AS d(message, no, slot, port, state, priority, rank, due, lane, order_key, rendered, failure, exchange,
         run)
)
INSERT INTO message (id, slot, received_at, stored_at, origin, type, context, config_version, fanout,
                     exchange, body_len, content_type)
SELECT id, slot, received_at, $1::bigint, origin, type, context, config_version, fanout,
       exchange, body_len, content_type
FROM unnest($2::uuid[], $3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::int[], $10::uuid[], $11::bigint[], $12::text[])
  AS m(id, slot, received_at, origin, type, context, config_version, fanout, exchange, body_len,
       content_type)
