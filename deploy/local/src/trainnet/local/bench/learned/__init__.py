"""What strategies learn, beside training in one place: real data, the worker's own tasks, the aggregator's merges."""
