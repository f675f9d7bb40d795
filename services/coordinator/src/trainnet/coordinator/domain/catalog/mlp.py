"""`mlp`: tables."""

from trainnet.coordinator.domain.catalog.training import training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Hyperparameter, Task, Type

MLP = Architecture(
    "mlp",
    "Multi-layer perceptron for tables of numbers and categories.",
    Data.TABULAR,
    Task.CLASSIFICATION,
    (
        Hyperparameter("hidden", Type.INTEGER_LIST, [64, 64], "Units of each hidden layer.", 1, 65536),
        Hyperparameter("dropout", Type.FLOAT, 0.0, "Share of the hidden units dropped in training.", 0, 0.95),
        *training(),
    ),
)
