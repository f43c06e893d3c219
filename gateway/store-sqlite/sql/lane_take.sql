-- lane_take: gives lane ?2 of port ?1 to instance ?3.
INSERT INTO lane (port, no, instance, epoch) VALUES (?1, ?2, ?3, 1)
ON CONFLICT (port, no) DO UPDATE SET instance = excluded.instance, epoch = epoch + 1
