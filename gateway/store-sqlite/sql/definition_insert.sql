-- definition_insert: keeps the definition ?2 of orchestration ?1, ?3, at ?4.
INSERT INTO definition (orchestration, fingerprint, text, kept_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (orchestration, fingerprint) DO UPDATE SET kept_at = excluded.kept_at
