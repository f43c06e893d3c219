-- subscription_insert: messages of orchestration ?1 with the key ?2 find the run ?3, unless another one has it.
INSERT INTO subscription (orchestration, key, run) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
