-- work_until: until when attempt ?3 has the work ?1 at ?4, if it shows the token ?2.
SELECT lease_until FROM exchange
WHERE id = ?1 AND token = ?2 AND attempt = ?3 AND run IS NOT NULL AND answered_at IS NULL AND lease_until > ?4
