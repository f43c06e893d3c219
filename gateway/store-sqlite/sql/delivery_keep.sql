-- delivery_keep: the run ?3 has consumed the delivery ?1, ?2 of its inbox and keeps it.
UPDATE delivery SET route = NULL WHERE message = ?1 AND no = ?2 AND state = 5 AND run = ?3
