-- source_lease_take: gives the lease ?1 to instance ?2.
INSERT INTO source_lease (key, instance) VALUES (?1, ?2)
ON CONFLICT (key) DO UPDATE SET instance = excluded.instance
