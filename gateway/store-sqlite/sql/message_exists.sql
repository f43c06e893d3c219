-- message_exists: whether the message ?1 is stored.
SELECT 1 FROM message WHERE id = ?1
