-- delivery_claims_of: sorted apart, so that the planner takes the index of claims and not the one that is sorted so.
WITH mine AS MATERIALIZED (SELECT message, no, token FROM delivery WHERE state = 1 AND instance = $1)
SELECT message, no, token FROM mine ORDER BY message, no
