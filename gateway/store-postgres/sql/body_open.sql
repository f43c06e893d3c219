-- body_open
INSERT INTO body (id, instance, state, opened_at)
SELECT $1, i.id, 0, now_us() FROM instance i JOIN session s ON s.id = i.session
WHERE i.id = $2 AND i.state = 0 AND s.live
FOR KEY SHARE OF i
ON CONFLICT (id) DO UPDATE SET opened_at = body.opened_at
  WHERE body.state = 0 AND body.instance = excluded.instance
