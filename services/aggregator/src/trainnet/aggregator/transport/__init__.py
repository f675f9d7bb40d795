"""The coordinator, seen from the aggregator."""
