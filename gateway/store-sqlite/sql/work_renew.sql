-- work_renew: attempt ?3 of the work ?1 goes on at ?4, if it shows the token ?2.
UPDATE exchange SET lease_until = ?4 + lease
WHERE id = ?1 AND token = ?2 AND attempt = ?3 AND run IS NOT NULL AND answered_at IS NULL AND lease_until > ?4
RETURNING lease_until
