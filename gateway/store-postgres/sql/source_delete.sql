-- source_delete
DELETE FROM source WHERE location = $1 AND key = ANY ($2::text[])
