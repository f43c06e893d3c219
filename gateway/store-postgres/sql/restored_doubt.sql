-- restored_doubt: whatever was open may have been sent since the backup, but for what was suspended for good, which nobody
-- could resume, and what an orchestration instance had, which sends nothing of it. To a program that does not know restores, the owner that died was on a node of that name.
WITH open AS (
  UPDATE delivery d SET in_doubt = true,
    doubt = json_build_object('instance', coalesce(d.instance, '00000000-0000-0000-0000-000000000000'::uuid),
                              'node', 'restored', 'restored', true, 'released', now_us())::text
  WHERE d.state <> 5 AND (d.state <> 3 OR coalesce((d.failure::jsonb ->> 'resumable')::boolean, true))
  RETURNING d.message, d.no, d.port, d.attempts
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, 'released', attempts, 'restored from a backup; it may have been sent'
  FROM open
)
SELECT count(*) FROM open
