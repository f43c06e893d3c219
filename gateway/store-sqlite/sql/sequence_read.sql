-- sequence_read: the value of the sequence ?1.
SELECT value FROM sequence WHERE name = ?1
