"""`distilbert`: classes of texts."""

from trainnet.coordinator.domain.catalog.configuration import HEADS, LAYERS, flag, integer, number, word
from trainnet.coordinator.domain.catalog.texts import max_length, vocab_size
from trainnet.coordinator.domain.catalog.training import LORA, size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Size, Task

DISTILBERT = Architecture(
    "distilbert",
    "DistilBERT (arXiv:1910.01108): classifies texts with a small transformer encoder.",
    Data.TEXT,
    Task.CLASSIFICATION,
    (
        size(),
        max_length(128, "Tokens of a text that are read; longer ones are cut."),
        vocab_size(),
        *training(optimizer="adamw", learning_rate=3e-4, weight_decay=0.01, batch_size=32, gradient_clip=1.0),
        *LORA,
        integer("max_position_embeddings", "Most tokens that the model can read; at least max_length."),
        flag("sinusoidal_pos_embds", "Positions by sines in place of learnt ones."),
        integer("n_layers", "Layers of the encoder.", 1, LAYERS),
        integer("n_heads", "Attention heads of each layer.", 1, HEADS),
        integer("dim", "Width of the encoder; a multiple of n_heads."),
        integer("hidden_dim", "Width of the feed-forward layers.", 1, 1_000_000),
        number("dropout", "Dropout of embeddings and layers."),
        number("attention_dropout", "Dropout of the attention's weights."),
        word("activation", "Activation function, `gelu` for example."),
        number("initializer_range", "Standard deviation of the initial weights.", 0, 10),
        number("qa_dropout", "Dropout of a head for questions; not used here."),
        number("seq_classif_dropout", "Dropout before the classifier."),
        flag("tie_word_embeddings", "Share the embedding with a language model's head; not used here."),
    ),
    sizes=(
        Size("tiny", 1_530_000, "2 layers of width 128, 2 heads"),
        Size("small", 8_820_000, "3 layers of width 384, 6 heads"),
        Size("base", 49_800_000, "6 layers of width 768, 12 heads, as published"),
    ),
    hub=True,
)
