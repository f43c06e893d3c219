-- delivery_born: the deliveries of messages stored by an earlier run that this instance holds from birth.
SELECT d.message, d.no FROM unnest($2::uuid[]) AS m(id) JOIN delivery d ON d.message = m.id
WHERE d.state = 1 AND d.token = 1 AND d.instance = $1
ORDER BY d.message, d.no
