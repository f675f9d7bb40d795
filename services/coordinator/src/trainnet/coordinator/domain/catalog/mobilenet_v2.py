"""`mobilenet_v2`: images, on small machines."""

from trainnet.coordinator.domain.catalog.configuration import flag, integer, number, word
from trainnet.coordinator.domain.catalog.images import IMAGE_SIZE
from trainnet.coordinator.domain.catalog.training import size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Size, Task

MOBILENET_V2 = Architecture(
    "mobilenet_v2",
    "MobileNetV2 (arXiv:1801.04381): a convolutional network of inverted residuals for images.",
    Data.IMAGE,
    Task.CLASSIFICATION,
    (
        size(),
        IMAGE_SIZE,
        # SGD at the rate of the small networks diverges here.
        *training(optimizer="adamw", learning_rate=0.001, gradient_clip=1.0),
        number("depth_multiplier", "Factor of the channels of every layer.", 0.05, 16),
        integer("depth_divisible_by", "Channels of every layer are a multiple of this.", 1, 1024),
        integer("min_depth", "Fewest channels of a layer."),
        number("expand_ratio", "Factor from a block's channels to those of its first layer.", 0.1, 64),
        integer("output_stride", "How much smaller the last feature map is than the image: 8, 16 or 32.", 8, 32),
        flag("first_layer_is_expansion", "The first convolution is the first block's expansion too."),
        flag("finegrained_output", "The last convolution keeps its 1280 channels with depth_multiplier below 1."),
        word("hidden_act", "Activation function, `relu6` for example."),
        flag("tf_padding", "Pad convolutions as TensorFlow does."),
        number("classifier_dropout_prob", "Dropout before the classifier."),
        number("initializer_range", "Standard deviation of the initial weights.", 0, 10),
        number("layer_norm_eps", "Epsilon of the normalisation.", 0, 1),
        integer("semantic_loss_ignore_index", "Class that a segmentation's loss leaves out; not used here.", 0),
    ),
    sizes=(
        Size("tiny", 410_000, "depth multiplier 0.35"),
        Size("small", 1_370_000, "depth multiplier 0.75"),
        Size("base", 2_240_000, "depth multiplier 1.0, as published"),
    ),
    hub=True,
)
