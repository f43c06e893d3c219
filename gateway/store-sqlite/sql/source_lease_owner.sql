-- source_lease_owner: the live owner of the lease ?1.
SELECT l.instance FROM source_lease l
JOIN instance i ON i.id = l.instance JOIN session s ON s.id = i.session
WHERE l.key = ?1 AND i.state = 0 AND s.live = 1
