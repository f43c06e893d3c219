-- delivery_resume: the suspended delivery ?1, ?2 goes back into the flow at ?3 with all attempts before
-- it. An operator who resumes one in doubt has decided: it may be sent (again).
UPDATE delivery SET state = 0, transport = 0, attempts = 0, deaths = 0, in_doubt = 0, rank = rank - due + ?3, due = ?3
WHERE message = ?1 AND no = ?2 AND state = 3
