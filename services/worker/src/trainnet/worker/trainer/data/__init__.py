"""A data set as its owner uploads it: what it is (INSPECT) and how it is cut (PREPARE)."""
