"""The coordinator: the only writer of TrainNet's state. It schedules, accepts updates and closes rounds."""
