-- delivery_entered: the run that the delivery ?1, ?2 has entered under token ?3, or state 1 and instance ?4: none yet.
SELECT run FROM delivery WHERE message = ?1 AND no = ?2 AND token = ?3 AND (state = 5 OR (state = 1 AND instance = ?4))
