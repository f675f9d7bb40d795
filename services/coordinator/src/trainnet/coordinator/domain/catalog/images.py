"""What the image architectures of transformers have in common."""

from trainnet.coordinator.domain.catalog.types import Hyperparameter, Type

IMAGE_SIZE = Hyperparameter(
    "image_size",
    Type.INTEGER,
    0,
    "Pixels of each side that images are resized to; 0 leaves them as the data have them.",
    0,
    1024,
)
