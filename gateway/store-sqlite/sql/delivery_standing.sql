-- delivery_standing: whether the delivery ?1, ?2 was settled under token ?3 and not claimed since.
SELECT 1 FROM delivery WHERE message = ?1 AND no = ?2 AND token = ?3 AND state <> 1
