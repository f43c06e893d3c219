-- delivery_insert: seq in the order of the arrays, which is the order of acceptance. The token is 1 at
-- birth, claimed or not, so that a claim can never be taken for what was held since birth.
INSERT INTO delivery (seq, instance, token, message, no, slot, port, state, priority, rank, due, lane,
                      order_key, rendered, failure, exchange)
SELECT nextval('delivery_seq'), CASE WHEN d.state = 1 THEN $1::uuid END,
       1, d.*
FROM unnest($2::uuid[], $3::int[], $4::smallint[], $5::text[], $6::smallint[], $7::smallint[],
            $8::bigint[], $9::bigint[], $10::int[], $11::bytea[], $12::text[], $13::text[], $14::uuid[])
  AS d(message, no, slot, port, state, priority, rank, due, lane, order_key, rendered, failure, exchange)
