-- run_deadly: up to ?2 runs of orchestration ?1 that have something to do, or whose time has come at ?3, over which ?5, at
-- least 1, to ?6 holders have died: those with the fewest first. Not those whose definition is in ?4, in hex.
SELECT id FROM run INDEXED BY run_deaths
WHERE orchestration = ?1 AND state IN (0, 2) AND deaths > 0 AND (state = 0 OR due <= ?3)
  AND instr(?4, lower(hex(definition))) = 0 AND deaths BETWEEN ?5 AND ?6
ORDER BY deaths LIMIT ?2
