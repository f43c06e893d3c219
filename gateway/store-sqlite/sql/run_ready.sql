-- run_ready: up to ?2 runs of orchestration ?1 that have something to do, ready longest first. Not those whose
-- definition is in ?3, in hex. ?4, ?5: how many holders have died over them.
SELECT id FROM run WHERE state = 0 AND orchestration = ?1 AND instr(?3, lower(hex(definition)))  = 0 AND deaths BETWEEN ?4 AND ?5
ORDER BY changed_at LIMIT ?2
