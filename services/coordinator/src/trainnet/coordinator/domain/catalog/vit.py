"""`vit`: images, by attention."""

from trainnet.coordinator.domain.catalog.configuration import HEADS, LAYERS, flag, integer, number, word
from trainnet.coordinator.domain.catalog.images import IMAGE_SIZE
from trainnet.coordinator.domain.catalog.training import LORA, size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Size, Task

VIT = Architecture(
    "vit",
    "Vision transformer (arXiv:2010.11929): classifies images as sequences of patches.",
    Data.IMAGE,
    Task.CLASSIFICATION,
    (
        size(),
        IMAGE_SIZE,
        *training(optimizer="adamw", learning_rate=3e-4, weight_decay=0.05, gradient_clip=1.0),
        *LORA,
        integer("hidden_size", "Width of the encoder; a multiple of num_attention_heads."),
        integer("num_hidden_layers", "Layers of the encoder.", 1, LAYERS),
        integer("num_attention_heads", "Attention heads of each layer.", 1, HEADS),
        integer("intermediate_size", "Width of the feed-forward layers.", 1, 1_000_000),
        word("hidden_act", "Activation function, `gelu` for example."),
        number("hidden_dropout_prob", "Dropout of embeddings and layers."),
        number("attention_probs_dropout_prob", "Dropout of the attention's weights."),
        number("initializer_range", "Standard deviation of the initial weights.", 0, 10),
        number("layer_norm_eps", "Epsilon of the normalisation.", 0, 1),
        integer("patch_size", "Pixels of each side of a patch; divides the image's sides.", 1, 1024),
        flag("qkv_bias", "Whether queries, keys and values have a bias."),
        integer("encoder_stride", "Resolution of masked image modelling; not used here.", 1, 1024),
        integer("pooler_output_size", "Width of the pooler; not used here."),
        word("pooler_act", "Activation function of the pooler; not used here."),
    ),
    sizes=(
        Size("tiny", 5_500_000, "12 layers of width 192, 3 heads"),
        Size("small", 21_700_000, "12 layers of width 384, 6 heads"),
        Size("base", 85_800_000, "12 layers of width 768, 12 heads, as published"),
    ),
    hub=True,
)
