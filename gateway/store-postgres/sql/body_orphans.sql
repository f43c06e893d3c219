-- body_orphans: only an open body of a dead instance may be given up for it.
UPDATE body b SET state = 2
FROM (SELECT o.id FROM body o
      WHERE o.state = 0
        AND NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                        WHERE i.id = o.instance AND i.state = 0 AND s.live)
      LIMIT $1::bigint FOR UPDATE SKIP LOCKED) o
WHERE b.id = o.id
