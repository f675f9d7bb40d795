"""The Python client of TrainNet."""
