-- history_list: the first ?2 events of message ?1.
SELECT id, at, event, port, no, attempts, detail FROM history WHERE message = ?1 ORDER BY id LIMIT ?2
