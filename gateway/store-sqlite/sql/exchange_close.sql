-- exchange_close: the run ?2 waits for the exchange ?1 no more.
DELETE FROM exchange WHERE id = ?1 AND run = ?2
