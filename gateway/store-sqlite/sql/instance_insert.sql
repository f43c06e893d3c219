-- instance_insert: ?1 id, ?2 session, ?3 node, ?4 hosts, ?5 since; only under a live session.
INSERT INTO instance (id, session, node, hosts, since)
SELECT ?1, id, ?3, ?4, ?5 FROM session WHERE id = ?2 AND live = 1
ON CONFLICT DO NOTHING
