"""The trainer process: everything that imports torch or pyarrow. One warm process per slot."""
