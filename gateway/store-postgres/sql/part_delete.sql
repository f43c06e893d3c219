-- part_delete: as message_delete, for the bodies of messages that stay listed.
WITH seen AS MATERIALIZED (
  SELECT message, no FROM part WHERE message > $1 AND message < $2 ORDER BY message, no LIMIT $4::bigint
), old AS MATERIALIZED (
  SELECT m.id FROM (SELECT DISTINCT message FROM seen) s JOIN message m ON m.id = s.message
  WHERE m.stored_at <= $3
    AND NOT EXISTS (SELECT FROM delivery d WHERE d.message = m.id)
    AND NOT EXISTS (SELECT FROM history h WHERE h.message = m.id AND h.at > $3)
    AND NOT EXISTS (SELECT FROM exchange x WHERE x.id = m.exchange AND x.keep_until > now_us())
), parts AS (
  DELETE FROM part p USING old o WHERE p.message = o.id RETURNING p.message, p.body
), bodies AS (
  UPDATE body b SET state = 2 FROM parts p WHERE b.id = p.body
)
SELECT (SELECT count(DISTINCT message) FROM parts) AS removed,
       (SELECT message FROM seen ORDER BY message, no OFFSET $4::bigint - 1 LIMIT 1) AS last
