-- exchange_of: the exchange that message ?1 opened.
SELECT exchange FROM message WHERE id = ?1 AND exchange IS NOT NULL
