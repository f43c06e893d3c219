-- instance_live
SELECT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
               WHERE i.id = $1 AND i.state = 0 AND s.live)
