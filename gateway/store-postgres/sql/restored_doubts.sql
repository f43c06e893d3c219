-- restored_doubts: how many are in doubt.
SELECT count(*) AS count FROM delivery WHERE in_doubt
