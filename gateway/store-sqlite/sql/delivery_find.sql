-- delivery_find: the live delivery ?1, ?2.
SELECT port, seq, order_key, state, attempts FROM delivery WHERE message = ?1 AND no = ?2
