-- history_next: up to ?2 events behind number ?1.
SELECT id, message, at FROM history WHERE id > ?1 ORDER BY id LIMIT ?2
