-- instance_end_all: the folder's lock proves that no earlier process lives.
UPDATE instance SET state = 1 WHERE state = 0
