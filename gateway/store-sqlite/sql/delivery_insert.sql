-- delivery_insert: ?1 message, ?2 no, ?3 seq, ?4 slot, ?5 port, ?6 state, ?7 priority, ?8 rank, ?9 due,
-- ?10 token, ?11 instance, ?12 lane, ?13 order_key, ?14 rendered, ?15 failure, ?16 exchange.
INSERT INTO delivery (message, no, seq, slot, port, state, priority, rank, due, token, instance, lane,
                      order_key, rendered, failure, exchange)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
