"""`gpt2`: language models."""

from trainnet.coordinator.domain.catalog.configuration import HEADS, LAYERS, flag, integer, number, word
from trainnet.coordinator.domain.catalog.texts import max_length, vocab_size
from trainnet.coordinator.domain.catalog.training import LORA, size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Size, Task

GPT2 = Architecture(
    "gpt2",
    "GPT-2: a language model, a transformer decoder that learns the next token of a text; needs no label.",
    Data.TEXT,
    Task.LANGUAGE_MODELING,
    (
        size(),
        max_length(128, "Tokens of an example: texts are put end to end and cut into blocks of this many."),
        vocab_size(),
        *training(optimizer="adamw", learning_rate=3e-4, weight_decay=0.01, batch_size=16, gradient_clip=1.0),
        *LORA,
        integer("n_positions", "Most tokens that the model can read; at least max_length."),
        integer("n_embd", "Width of the decoder; a multiple of n_head."),
        integer("n_layer", "Layers of the decoder.", 1, LAYERS),
        integer("n_head", "Attention heads of each layer.", 1, HEADS),
        integer("n_inner", "Width of the feed-forward layers; null means four times n_embd.", 1, 1_000_000),
        word("activation_function", "Activation function, `gelu_new` for example."),
        number("resid_pdrop", "Dropout of the layers."),
        number("embd_pdrop", "Dropout of the embeddings."),
        number("attn_pdrop", "Dropout of the attention's weights."),
        number("layer_norm_epsilon", "Epsilon of the normalisation.", 0, 1),
        number("initializer_range", "Standard deviation of the initial weights.", 0, 10),
        word("summary_type", "How a summarising head reads the sequence; not used here."),
        flag("summary_use_proj", "Whether a summarising head has a projection; not used here."),
        word("summary_activation", "Activation function of a summarising head; not used here."),
        flag("summary_proj_to_labels", "Whether a summarising head ends in classes; not used here."),
        number("summary_first_dropout", "Dropout of a summarising head; not used here."),
        flag("scale_attn_weights", "Divide attention by the square root of a head's width."),
        flag("scale_attn_by_inverse_layer_idx", "Divide a layer's attention by its number too."),
        flag("reorder_and_upcast_attn", "Compute attention in fp32 with mixed precision."),
        flag("tie_word_embeddings", "Share the embedding with the output layer."),
    ),
    sizes=(
        Size("tiny", 1_970_000, "4 layers of width 128, 4 heads"),
        Size("small", 14_200_000, "6 layers of width 384, 6 heads"),
        Size("base", 92_100_000, "12 layers of width 768, 12 heads, as published"),
    ),
    hub=True,
)
