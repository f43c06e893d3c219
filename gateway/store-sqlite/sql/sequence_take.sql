-- sequence_take: raises the sequence ?1 by ?2 and gives the last number taken.
UPDATE sequence SET value = value + ?2 WHERE name = ?1 RETURNING value
