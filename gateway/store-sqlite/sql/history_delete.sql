-- history_delete: the events of message ?1.
DELETE FROM history WHERE message = ?1
