-- delivery_unorder: takes the delivery ?1, ?2 out of the order of its key, for good.
UPDATE delivery SET lane = NULL, order_key = NULL WHERE message = ?1 AND no = ?2
