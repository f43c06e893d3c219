-- work_answered: whether the work $1 with the token $2 was answered by the status $3 and the bytes $4.
SELECT EXISTS (SELECT FROM exchange WHERE id = $1::uuid AND token = $2::uuid AND status = $3::int AND bytes = $4::bytea
               AND answered_at IS NOT NULL) AS answered
