"""`noop`: everything but the training."""

from trainnet.coordinator.domain.catalog.types import Architecture, Data, Hyperparameter, Task, Type

NOOP = Architecture(
    "noop",
    "Trains nothing and returns a seeded random delta: measures everything but the training.",
    Data.NONE,
    Task.NONE,
    (Hyperparameter("params", Type.INTEGER, 1024, "Number of fp32 parameters.", 1, 20e9),),
    takes_base=False,
)
