-- exchange_insert: opens the request ?1 of message ?2, kept until ?3.
INSERT INTO exchange (id, message, keep_until) VALUES (?1, ?2, ?3)
