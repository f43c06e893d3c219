-- chunk_delete: removes up to ?2 chunks of body ?1.
DELETE FROM chunk WHERE rowid IN (SELECT rowid FROM chunk WHERE body = ?1 LIMIT ?2)
