-- restored_doubts: how many are in doubt.
SELECT count(*) FROM delivery WHERE in_doubt = 1
