-- lane_hold: locks the own lanes of these ports. It waits for own transactions only.
SELECT l.no FROM lane l WHERE l.port = ANY ($2::text[]) AND l.instance = $1
ORDER BY l.port, l.no
FOR UPDATE
