-- delivery_enter: the delivery ?1, ?2, held by instance ?3 under token ?4, enters the run ?5 by the way ?6.
UPDATE delivery SET state = 5, instance = NULL, run = ?5, route = ?6
WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
