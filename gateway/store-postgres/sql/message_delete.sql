-- message_delete: one window of ids above $1 and below $2; what ended before $3 goes with all that is
-- left of it. `last` is where the next window starts, NULL after the last one. OFFSET keeps each look one into an
-- index, see order_busy.
WITH seen AS MATERIALIZED (
  SELECT id, stored_at, exchange FROM message WHERE id > $1 AND id < $2 ORDER BY id LIMIT $4::bigint
), old AS MATERIALIZED (
  SELECT s.id FROM seen s
  WHERE s.stored_at <= $3
    AND NOT EXISTS (SELECT FROM delivery d WHERE d.message = s.id OFFSET 0)
    AND NOT EXISTS (SELECT FROM history h WHERE h.message = s.id AND h.at > $3 OFFSET 0)
    AND NOT EXISTS (SELECT FROM exchange x WHERE x.id = s.exchange AND x.keep_until > now_us())
), parts AS (
  DELETE FROM part p USING old o WHERE p.message = o.id RETURNING p.body
), bodies AS (
  UPDATE body b SET state = 2 FROM parts p WHERE b.id = p.body
), events AS (
  DELETE FROM history h USING old o WHERE h.message = o.id
), messages AS (
  DELETE FROM message m USING old o WHERE m.id = o.id RETURNING m.id
)
SELECT (SELECT count(*) FROM messages) AS removed,
       (SELECT id FROM seen ORDER BY id OFFSET $4::bigint - 1 LIMIT 1) AS last
