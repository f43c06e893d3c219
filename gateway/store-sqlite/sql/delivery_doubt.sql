-- delivery_doubt: whether the delivery ?1, ?2 may have been sent.
SELECT in_doubt FROM delivery WHERE message = ?1 AND no = ?2
