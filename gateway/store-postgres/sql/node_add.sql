-- node_add: writes nothing for a node that is known.
INSERT INTO cluster_node (name) SELECT $1::text WHERE NOT EXISTS (SELECT FROM cluster_node WHERE name = $1)
ON CONFLICT DO NOTHING
