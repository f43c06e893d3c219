-- fence_get: who stands in the way of instance $2 and whether that one lives, and whether $2 may ask at all.
SELECT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
               WHERE i.id = $2 AND i.state = 0 AND s.live) AS live,
       EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
               WHERE i.id = f.instance AND i.state = 0 AND s.live) AS held,
       f.instance, f.grant_id, f.epoch
FROM (SELECT) one LEFT JOIN fence f ON f.grp = $1
