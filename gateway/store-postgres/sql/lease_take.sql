-- lease_take: a lease is worth what its instance is.
INSERT INTO source_lease AS l (key, instance)
SELECT $1, i.id FROM instance i JOIN session s ON s.id = i.session
WHERE i.id = $2 AND i.state = 0 AND s.live
FOR KEY SHARE OF i
ON CONFLICT (key) DO UPDATE SET instance = excluded.instance
WHERE l.instance = excluded.instance
   OR NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                  WHERE i.id = l.instance AND i.state = 0 AND s.live)
