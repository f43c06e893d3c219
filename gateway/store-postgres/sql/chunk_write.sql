-- chunk_write: the lock keeps the body from being abandoned and swept in between.
WITH open AS MATERIALIZED (
  SELECT b.id FROM body b WHERE b.id = $1 AND b.instance = $2 AND b.state = 0 FOR SHARE
)
INSERT INTO chunk (body, no, bytes) SELECT id, $3, $4 FROM open
ON CONFLICT (body, no) DO UPDATE SET bytes = excluded.bytes
