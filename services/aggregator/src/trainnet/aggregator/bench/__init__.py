"""Measurements of the merge engine: `python -m trainnet.aggregator.bench`."""
