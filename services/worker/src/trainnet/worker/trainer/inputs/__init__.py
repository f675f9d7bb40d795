"""What the rows of a shard become before they are trained on."""
