-- exchange_delete: up to ?2 requests that nobody waits for at ?1.
DELETE FROM exchange WHERE id IN (
  SELECT id FROM exchange WHERE keep_until < ?1 ORDER BY keep_until LIMIT ?2)
