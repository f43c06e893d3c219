-- message_delete: the message ?1.
DELETE FROM message WHERE id = ?1
