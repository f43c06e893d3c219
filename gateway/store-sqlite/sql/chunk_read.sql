-- chunk_read: the chunk ?2 of body ?1, unless it was given up.
SELECT c.bytes FROM chunk c JOIN body b ON b.id = c.body WHERE c.body = ?1 AND c.no = ?2 AND b.state <> 2
