-- history_entered: who ended the delivery ?1, ?2 after the claim with token ?3.
SELECT detail FROM history WHERE message = ?1 AND no = ?2 AND token = ?3 AND event IN ('consumed', 'discarded')
