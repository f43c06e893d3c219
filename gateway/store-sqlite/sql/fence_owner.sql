-- fence_owner: the live owner of the fence ?1.
SELECT f.instance, f.grant_id, f.epoch FROM fence f
JOIN instance i ON i.id = f.instance JOIN session s ON s.id = i.session
WHERE f.grp = ?1 AND i.state = 0 AND s.live = 1
