-- delivery_deadly: the first ?2 ready deliveries of port ?1, over which ?3, at least 1, to ?4 owners have died: those with the fewest
-- first.
SELECT message, no FROM delivery INDEXED BY delivery_deaths
WHERE port = ?1 AND state = 0 AND deaths > 0 AND deaths BETWEEN ?3 AND ?4 ORDER BY deaths LIMIT ?2
