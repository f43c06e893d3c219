-- restored_sequence: a fence that the backup did not have begins above ?1.
INSERT INTO sequence (name, value) VALUES ('epoch', ?1) ON CONFLICT (name) DO UPDATE SET value = excluded.value
