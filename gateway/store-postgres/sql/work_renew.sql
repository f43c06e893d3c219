-- work_renew: attempt $3 of the work $1 goes on, if it shows the token $2.
UPDATE exchange x SET lease_until = n.now + x.lease
FROM (SELECT now_us() AS now) n
WHERE x.id = $1::uuid AND x.token = $2::uuid AND x.attempt = $3::int
  AND x.run IS NOT NULL AND x.answered_at IS NULL AND x.lease_until > n.now
RETURNING x.lease_until
