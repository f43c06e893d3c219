-- work_answered: whether the work ?1 with the token ?2 was answered by the status ?3 and the bytes ?4.
SELECT 1 FROM exchange WHERE id = ?1 AND token = ?2 AND status = ?3 AND bytes = ?4 AND answered_at IS NOT NULL
