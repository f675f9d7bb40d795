"""The folder that a job's owner downloads: weights, configuration, tokenizer, preprocessing, and a card."""
