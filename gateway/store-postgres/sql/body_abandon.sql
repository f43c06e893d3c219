-- body_abandon
UPDATE body SET state = 2 WHERE id = $1 AND instance = $2 AND state = 0
