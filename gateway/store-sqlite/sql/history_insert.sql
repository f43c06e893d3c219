-- history_insert: ?1 id, ?2 message, ?3 at, ?4 no, ?5 event, ?6 port, ?7 attempts, ?8 token, ?9 detail.
INSERT INTO history (id, message, at, no, event, port, attempts, token, detail)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
