-- definition_delete: those without runs for which a newer one has come, a day ago. The last one of an orchestration stays:
-- a program that works with it may begin a run at any time.
DELETE FROM definition d
WHERE d.kept_at <= now_us() - 86400000000
  AND EXISTS (SELECT FROM definition n WHERE n.orchestration = d.orchestration AND n.kept_at > d.kept_at
              AND n.kept_at <= now_us() - 86400000000)
  AND NOT EXISTS (SELECT FROM run r WHERE r.orchestration = d.orchestration AND r.definition = d.fingerprint OFFSET 0)
