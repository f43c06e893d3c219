-- definition_delete: definitions that were kept before ?1, that no run is bound to, and that another one has replaced.
DELETE FROM definition WHERE kept_at < ?1
  AND EXISTS (SELECT 1 FROM definition n WHERE n.orchestration = definition.orchestration AND n.kept_at > definition.kept_at)
  AND NOT EXISTS (
    SELECT 1 FROM run r WHERE r.orchestration = definition.orchestration AND r.definition = definition.fingerprint)
