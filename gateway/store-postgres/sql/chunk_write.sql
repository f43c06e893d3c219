-- chunk_write: the locks keep the body from being sealed or given up in between.
WITH open AS MATERIALIZED (
  SELECT b.id FROM body b JOIN instance i ON i.id = b.instance JOIN session s ON s.id = i.session
  WHERE b.id = $1 AND b.instance = $2 AND b.state = 0 AND i.state = 0 AND s.live
  FOR SHARE OF b FOR KEY SHARE OF i
)
INSERT INTO chunk (body, no, bytes) SELECT id, $3, $4 FROM open
ON CONFLICT (body, no) DO UPDATE SET bytes = excluded.bytes
