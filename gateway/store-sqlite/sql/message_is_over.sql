-- message_is_over: whether message ?1 has no live delivery and no event since ?2. A message that is gone
-- already is over as well: what was written about it since goes too.
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)
  AND NOT EXISTS (SELECT 1 FROM history WHERE message = ?1 AND at >= ?2)
