-- lineage_check: whether the store lies where it was made, or last released after a restore.
SELECT l.place = place() FROM lineage l
