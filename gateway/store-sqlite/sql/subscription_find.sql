-- subscription_find: the run of orchestration ?1 that has the key ?2.
SELECT run FROM subscription WHERE orchestration = ?1 AND key = ?2
