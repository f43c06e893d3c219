-- fence_release
UPDATE fence SET instance = NULL, grant_id = NULL WHERE grp = $1 AND grant_id = $2
