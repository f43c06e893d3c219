-- run_list: up to ?4 runs older than ?1: ?2 orchestration or application, ?3 state.
SELECT id, orchestration, definition, state, started_at, changed_at, due, instance, reason, discarded FROM run
WHERE id < ?1 AND (?2 IS NULL OR orchestration = ?2
    OR substr(orchestration, 1, length(rtrim(?2, '.')) + 1) = rtrim(?2, '.') || '.')
  AND (?3 IS NULL OR state = ?3)
ORDER BY id DESC LIMIT ?4
