-- message_insert: no ON CONFLICT. A message that is there already was stored by an earlier run of the
-- batch; its deliveries may have ended since and must not be born again, so the batch is run anew
-- without it.
INSERT INTO message (id, slot, received_at, stored_at, origin, type, context, config_version, fanout,
                     exchange, body_len, content_type)
SELECT id, slot, received_at, $1::bigint, origin, type, context, config_version, fanout,
       exchange, body_len, content_type
FROM unnest($2::uuid[], $3::smallint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[],
            $9::int[], $10::uuid[], $11::bigint[], $12::text[])
  AS m(id, slot, received_at, origin, type, context, config_version, fanout, exchange, body_len,
       content_type)
