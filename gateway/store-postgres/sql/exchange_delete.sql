-- exchange_delete
DELETE FROM exchange x USING (
  SELECT id FROM exchange WHERE keep_until <= (SELECT now_us()) ORDER BY keep_until LIMIT $1::bigint) o
WHERE x.id = o.id
