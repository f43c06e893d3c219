-- delivery_kept_insert: ?1 message, ?2 no, ?3 seq, ?4 slot, ?5 port, ?6 at, ?7 run, which keeps it from birth.
INSERT INTO delivery (message, no, seq, slot, port, state, priority, rank, due, token, run)
VALUES (?1, ?2, ?3, ?4, ?5, 5, 0, ?6, ?6, 1, ?7)
