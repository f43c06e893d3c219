-- sequence_set: sets the sequence ?1 to ?2.
UPDATE sequence SET value = ?2 WHERE name = ?1
