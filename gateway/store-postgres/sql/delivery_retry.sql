-- delivery_retry: attempts and token stay comparable, so that a batch that is run again knows its work.
UPDATE delivery d SET state = 0, instance = NULL, due = $2::bigint + r.wait,
       rank = $2::bigint + r.wait + (d.priority - 5) * 10000000::bigint,
       transport = r.transport, attempts = r.attempts, failure = r.failure
FROM unnest($3::uuid[], $4::int[], $5::int[], $6::bigint[], $7::smallint[], $8::int[], $9::text[])
     AS r(message, no, token, wait, transport, attempts, failure)
WHERE d.message = r.message AND d.no = r.no
  AND d.state = 1 AND d.instance = $1 AND d.token = r.token
RETURNING d.message, d.no
