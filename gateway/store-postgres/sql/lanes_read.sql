-- lanes_read
SELECT lanes FROM ordered_port WHERE port = $1
