-- lane_insert
INSERT INTO lane (port, no)
SELECT port, no FROM unnest($1::text[], $2::int[]) AS l(port, no) ORDER BY port, no
ON CONFLICT DO NOTHING
