-- chunk_read: unless the body was given up; then the sweep is removing it.
SELECT c.bytes FROM chunk c JOIN body b ON b.id = c.body WHERE c.body = $1 AND c.no = $2 AND b.state <> 2
