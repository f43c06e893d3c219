-- source_delete: forgets the mark ?2 of location ?1.
DELETE FROM source WHERE location = ?1 AND key = ?2
