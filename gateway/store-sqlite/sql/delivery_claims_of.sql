-- delivery_claims_of: what instance ?1 holds.
SELECT message, no, token FROM delivery WHERE state = 1 AND instance = ?1
