-- body_delete: the body ?1 has no chunk any more.
DELETE FROM body WHERE id = ?1 AND state = 2
