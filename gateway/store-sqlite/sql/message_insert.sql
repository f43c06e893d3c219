-- message_insert: ?1 id, ?2 slot, ?3 received_at, ?4 stored_at, ?5 origin, ?6 type, ?7 context,
-- ?8 config_version, ?9 fanout, ?10 exchange. No row: it is stored already, by an earlier run of the batch.
INSERT INTO message (id, slot, received_at, stored_at, origin, type, context, config_version, fanout, exchange)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO NOTHING
