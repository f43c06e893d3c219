-- order_key_delete: key ?2 of port ?1 has no held delivery any more.
DELETE FROM order_key WHERE port = ?1 AND key = ?2
