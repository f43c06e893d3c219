-- part_delete: the parts of message ?1.
DELETE FROM part WHERE message = ?1
