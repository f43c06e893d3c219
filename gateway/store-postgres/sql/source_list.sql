-- source_list
SELECT key, state, message FROM source WHERE location = $1 ORDER BY stored_at, message LIMIT $2::bigint
