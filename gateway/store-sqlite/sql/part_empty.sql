-- part_empty: the parts of message ?1 keep their names and lengths, not their bytes.
UPDATE part SET bytes = NULL, body = NULL WHERE message = ?1 AND (bytes IS NOT NULL OR body IS NOT NULL)
