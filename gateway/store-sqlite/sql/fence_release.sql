-- fence_release: gives the fence ?1 back if ?2 is its grant.
UPDATE fence SET grant_id = NULL, instance = NULL WHERE grp = ?1 AND grant_id = ?2
