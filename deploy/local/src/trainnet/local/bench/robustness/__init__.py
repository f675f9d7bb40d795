"""Training under attack: many workers on one model, some of them hostile, every round merged by the aggregator."""
