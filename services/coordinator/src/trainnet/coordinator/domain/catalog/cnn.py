"""`cnn`: small images, fast."""

from trainnet.coordinator.domain.catalog.training import training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Hyperparameter, Task, Type

CNN = Architecture(
    "cnn",
    "Small convolutional network for small images: two 3x3 convolutions and two dense layers.",
    Data.IMAGE,
    Task.CLASSIFICATION,
    (
        Hyperparameter(
            "width", Type.INTEGER, 16, "Channels of the first convolution; the second has twice as many.", 1, 1024
        ),
        Hyperparameter("hidden", Type.INTEGER, 128, "Units of the hidden dense layer.", 1, 65536),
        *training(),
    ),
)
