-- instance_live: whether the instance ?1 may change anything. The session's own lease is not looked at:
-- it ends when an observer ends it, so that all see the same moment.
SELECT 1 FROM instance i JOIN session s ON s.id = i.session
WHERE i.id = ?1 AND i.state = 0 AND s.live = 1
