-- chunk_read
SELECT bytes FROM chunk WHERE body = $1 AND no = $2
