-- run_step: what the run ?1 is after a step at ?2: ?3 its data, if ?4 says that they are new, ?5 its state unless
-- that is waiting, ?6 due, ?7 the wakes that were seen, ?8 whether its claim goes on, unless an order stays, ?9 reason, ?10
-- whether the order that was seen is done, ?11 discarded, ?12 whether it has something to do at once.
UPDATE run SET changed_at = ?2, deaths = CASE WHEN ?4 OR ?5 <> 2 THEN 0 ELSE deaths END,
  data = CASE WHEN ?4 THEN ?3 ELSE data END, due = ?6, reason = ?9, discarded = ?11,
  ordered = CASE WHEN ?10 AND ordered_wakes <= ?7 THEN NULL ELSE ordered END,
  instance = CASE WHEN ?8 AND (ordered IS NULL OR ?10 AND ordered_wakes <= ?7) THEN instance END,
  state = CASE WHEN ?5 >= 4 THEN ?5 WHEN ordered IS NOT NULL AND NOT (?10 AND ordered_wakes <= ?7) THEN 0 WHEN ?8 THEN 1
    WHEN ?5 = 3 THEN 3 WHEN ?12 OR wakes > ?7 THEN 0 ELSE 2 END
WHERE id = ?1
RETURNING state
