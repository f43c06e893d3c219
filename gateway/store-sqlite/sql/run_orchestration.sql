-- run_orchestration: of which orchestration the run ?1 is.
SELECT orchestration FROM run WHERE id = ?1
