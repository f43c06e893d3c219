-- definition_keep
INSERT INTO definition (orchestration, fingerprint, kept_at, text) VALUES ($1, $2, now_us(), $3)
ON CONFLICT (orchestration, fingerprint) DO UPDATE SET kept_at = excluded.kept_at
