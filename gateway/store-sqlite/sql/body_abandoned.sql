-- body_abandoned: a body that nobody needs.
SELECT id FROM body WHERE state <> 1 AND state = 2 LIMIT 1
