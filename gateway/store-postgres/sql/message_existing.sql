-- message_existing
SELECT m.id FROM unnest($1::uuid[]) AS w(id) JOIN message m ON m.id = w.id
