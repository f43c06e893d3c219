-- run_claims_of: the runs that instance ?1 holds.
SELECT id FROM run WHERE state = 1 AND instance = ?1
