-- delivery_release: gives the delivery ?1, ?2 held by instance ?3 under token ?4 back untouched.
UPDATE delivery SET state = 0, instance = NULL
WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
