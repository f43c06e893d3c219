-- message_load: the message ?1 without its parts.
SELECT received_at, origin, type, context FROM message WHERE id = ?1
