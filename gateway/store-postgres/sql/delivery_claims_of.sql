-- delivery_claims_of
SELECT message, no, token FROM delivery WHERE state = 1 AND instance = $1 ORDER BY message, no
