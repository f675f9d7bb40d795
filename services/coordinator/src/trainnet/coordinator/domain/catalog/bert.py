"""`bert`: classes of texts, mostly on top of a pretrained encoder."""

from trainnet.coordinator.domain.catalog.configuration import HEADS, LAYERS, flag, integer, number, word
from trainnet.coordinator.domain.catalog.texts import max_length, vocab_size
from trainnet.coordinator.domain.catalog.training import LORA, size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Size, Task

BERT = Architecture(
    "bert",
    "BERT (arXiv:1810.04805): classifies texts, mostly on top of a pretrained encoder (`--base`).",
    Data.TEXT,
    Task.CLASSIFICATION,
    (
        size(),
        max_length(128, "Tokens of a text that are read; longer ones are cut."),
        vocab_size(),
        *training(optimizer="adamw", learning_rate=3e-4, weight_decay=0.01, batch_size=32, gradient_clip=1.0),
        *LORA,
        integer("hidden_size", "Width of the encoder; a multiple of num_attention_heads."),
        integer("num_hidden_layers", "Layers of the encoder.", 1, LAYERS),
        integer("num_attention_heads", "Attention heads of each layer.", 1, HEADS),
        integer("intermediate_size", "Width of the feed-forward layers.", 1, 1_000_000),
        word("hidden_act", "Activation function, `gelu` for example."),
        number("hidden_dropout_prob", "Dropout of embeddings and layers."),
        number("attention_probs_dropout_prob", "Dropout of the attention's weights."),
        integer("max_position_embeddings", "Most tokens that the model can read; at least max_length."),
        integer("type_vocab_size", "Kinds of segments that a text can have.", 1, 1024),
        number("initializer_range", "Standard deviation of the initial weights.", 0, 10),
        number("layer_norm_eps", "Epsilon of the normalisation.", 0, 1),
        number("classifier_dropout", "Dropout before the classifier; null means hidden_dropout_prob."),
        flag("tie_word_embeddings", "Share the embedding with a language model's head; not used here."),
    ),
    sizes=(
        Size("tiny", 1_530_000, "2 layers of width 128, 2 heads"),
        Size("small", 17_300_000, "4 layers of width 512, 8 heads"),
        Size("base", 92_300_000, "12 layers of width 768, 12 heads, as published"),
    ),
    hub=True,
)
