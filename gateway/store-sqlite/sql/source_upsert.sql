-- source_upsert: ?1 location, ?2 key, ?3 state, ?4 message, ?5 stored_at. A mark that is already there is
-- the same thing at the source: the newest message of it is the one to settle by.
INSERT INTO source (location, key, state, message, stored_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (location, key) DO UPDATE SET state = excluded.state, message = excluded.message,
  stored_at = excluded.stored_at
