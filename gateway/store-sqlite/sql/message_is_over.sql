-- message_is_over: whether message ?1 has no live delivery, no event since ?2, and no orchestration instance that wants to
-- know what became of it. A message that is gone already is over as well: what was written about it since goes too.
SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)
  AND NOT EXISTS (SELECT 1 FROM history WHERE message = ?1 AND at >= ?2)
  AND NOT EXISTS (SELECT 1 FROM exchange WHERE message = ?1 AND run IS NOT NULL)
