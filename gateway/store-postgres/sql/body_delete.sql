-- body_delete
DELETE FROM body b USING (
  SELECT id FROM body o WHERE o.state = 2 AND NOT EXISTS (SELECT FROM chunk c WHERE c.body = o.id)
  LIMIT $1::bigint) o
WHERE b.id = o.id
