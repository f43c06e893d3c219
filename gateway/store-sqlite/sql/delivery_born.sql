-- delivery_born: which deliveries of message ?1 instance ?2 holds since their birth.
SELECT no FROM delivery WHERE message = ?1 AND state = 1 AND instance = ?2 AND token = 1 ORDER BY no
