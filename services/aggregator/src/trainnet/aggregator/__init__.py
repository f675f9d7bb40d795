"""The aggregator: checks updates and merges them into the next global model."""
