-- body_orphan: the sealed bodies of message ?1 are not needed any more.
UPDATE body SET state = 2 WHERE id IN (SELECT body FROM part WHERE message = ?1 AND body IS NOT NULL)
