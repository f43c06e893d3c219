-- lanes_insert
INSERT INTO ordered_port (port, lanes) VALUES ($1, $2) ON CONFLICT DO NOTHING
