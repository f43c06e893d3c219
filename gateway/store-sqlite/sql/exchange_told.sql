-- exchange_told: of the exchange ?2 of the run ?1, of all of them without ?2, what a program has answered with its token is
-- the run's no more, and is known until ?3.
UPDATE exchange SET run = NULL, keep_until = ?3
WHERE run = ?1 AND run IS NOT NULL AND (?2 IS NULL OR id = ?2)
  AND token IS NOT NULL AND answered_at IS NOT NULL AND lease_until IS NULL
