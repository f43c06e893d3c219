-- restored_told: the history of what restored_doubt has changed, numbered behind ?1, at ?2.
INSERT INTO history (id, message, at, no, event, port, attempts, detail)
SELECT ?1 + row_number() OVER (ORDER BY d.message, d.no), d.message, ?2, d.no, 'released', d.port, d.attempts,
  'restored from a backup; it may have been sent'
FROM delivery d WHERE d.state <> 5 AND (d.state <> 3 OR coalesce(json_extract(d.failure, '$.resumable'), 1) <> 0)
