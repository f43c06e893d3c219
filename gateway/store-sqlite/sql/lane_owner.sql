-- lane_owner: the live owner of lane ?2 of port ?1.
SELECT l.instance FROM lane l JOIN instance i ON i.id = l.instance JOIN session s ON s.id = i.session
WHERE l.port = ?1 AND l.no = ?2 AND i.state = 0 AND s.live = 1
