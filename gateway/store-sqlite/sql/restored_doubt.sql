-- restored_doubt: whatever was open may have been sent since the backup, but for what was suspended for good, which nobody
-- could resume.
UPDATE delivery SET in_doubt = 1
WHERE state <> 5 AND (state <> 3 OR coalesce(json_extract(failure, '$.resumable'), 1) <> 0)
