-- delivery_settled: what stands where a settlement found no claim. An end leaves its token in history.
SELECT c.message, c.no, d.state, d.token, d.attempts, d.transport,
       EXISTS (SELECT FROM history h WHERE h.message = c.message AND h.no = c.no
               AND h.token = c.token) AS ended
FROM unnest($1::uuid[], $2::int[], $3::int[]) AS c(message, no, token)
LEFT JOIN LATERAL (SELECT * FROM delivery
                   WHERE message = c.message AND no = c.no OFFSET 0) d ON true
