-- run_due: up to ?2 runs of orchestration ?1 whose time has come at ?3. Not those whose definition is
-- in ?4, in hex. ?5, ?6: how many holders have died over them.
SELECT id FROM run WHERE state = 2 AND due IS NOT NULL AND orchestration = ?1 AND due <= ?3
  AND instr(?4, lower(hex(definition)))  = 0 AND deaths BETWEEN ?5 AND ?6
ORDER BY due LIMIT ?2
