-- instance_register: waits for an expiry of the session that is under way.
INSERT INTO instance (id, session, node, hosts, since)
SELECT $1, s.id, $3, $4, now_us()
FROM (SELECT id FROM session WHERE id = $2 AND live FOR NO KEY UPDATE) s
ON CONFLICT (id) DO NOTHING
