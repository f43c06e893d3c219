-- run_due: up to ?2 runs of orchestration ?1 whose time has come at ?3. Not those whose definition is
-- in ?4, in hex.
SELECT id FROM run WHERE state = 2 AND due IS NOT NULL AND orchestration = ?1 AND due <= ?3
  AND instr(?4, lower(hex(definition))) = 0
ORDER BY due LIMIT ?2
