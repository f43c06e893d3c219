-- session_end_all: sessions of earlier processes ended with them.
UPDATE session SET live = 0 WHERE live = 1
