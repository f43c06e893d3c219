-- store_probe: a transaction that really writes, and therefore waits for the disk and the standby.
SELECT pg_logical_emit_message(true, 'quayside', 'probe')::text
