-- group_answer
UPDATE cluster_group SET answered_no = $2, refused = $3
WHERE name = $1 AND answered_no < $2 AND order_no >= $2
