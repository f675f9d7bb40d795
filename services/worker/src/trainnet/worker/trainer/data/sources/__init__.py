"""Files of owners as streams of Arrow batches: one module per format, `opening.open_source` chooses."""
