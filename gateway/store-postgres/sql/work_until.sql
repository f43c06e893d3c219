-- work_until: until when attempt $3 has the work $1, if it shows the token $2.
SELECT x.lease_until FROM exchange x
WHERE x.id = $1::uuid AND x.token = $2::uuid AND x.attempt = $3::int
  AND x.run IS NOT NULL AND x.answered_at IS NULL AND x.lease_until > now_us()
