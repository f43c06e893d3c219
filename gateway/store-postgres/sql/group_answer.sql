-- group_answer: a drill that was refused is none. One that was ordered after the order $2 is not answered by this.
UPDATE cluster_group SET answered_no = $2, refused = $3,
       drill_at = CASE WHEN $3::text IS NULL OR order_no > $2 THEN drill_at END
WHERE name = $1 AND answered_no < $2 AND order_no >= $2
