-- history_ended: whether the claim with token ?3 ended the delivery ?1, ?2.
SELECT 1 FROM history WHERE message = ?1 AND no = ?2 AND token = ?3
