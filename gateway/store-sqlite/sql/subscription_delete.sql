-- subscription_delete: the key ?2 of orchestration ?1 no longer finds the run ?3.
DELETE FROM subscription WHERE orchestration = ?1 AND key = ?2 AND run = ?3
