"""The embedded stack: all of TrainNet as supervised processes on one machine."""
