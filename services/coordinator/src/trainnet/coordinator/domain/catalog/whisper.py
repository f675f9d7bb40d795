"""`whisper`: speech to text."""

from trainnet.coordinator.domain.catalog.configuration import HEADS, LAYERS, flag, integer, number, word
from trainnet.coordinator.domain.catalog.texts import max_length, vocab_size
from trainnet.coordinator.domain.catalog.training import LORA, size, training
from trainnet.coordinator.domain.catalog.types import Architecture, Data, Hyperparameter, Size, Task, Type

WHISPER = Architecture(
    "whisper",
    "Whisper (arXiv:2212.04356): writes down speech; its label is the text that is spoken.",
    Data.AUDIO,
    Task.TRANSCRIPTION,
    (
        size(),
        Hyperparameter(
            "max_seconds", Type.FLOAT, 30.0, "Longest recording in seconds; a longer one is an error.", 0.1, 600
        ),
        max_length(128, "Tokens of a transcription that are learnt; longer ones are cut."),
        vocab_size(1024),
        *training(optimizer="adamw", learning_rate=3e-4, weight_decay=0.01, batch_size=8, gradient_clip=1.0),
        *LORA,
        integer("num_mel_bins", "Bands of the spectrogram.", 1, 1024),
        integer("encoder_layers", "Layers of the encoder.", 1, LAYERS),
        integer("encoder_attention_heads", "Attention heads of each layer of the encoder.", 1, HEADS),
        integer("decoder_layers", "Layers of the decoder.", 1, LAYERS),
        integer("decoder_attention_heads", "Attention heads of each layer of the decoder.", 1, HEADS),
        integer("decoder_ffn_dim", "Width of the decoder's feed-forward layers.", 1, 1_000_000),
        integer("encoder_ffn_dim", "Width of the encoder's feed-forward layers.", 1, 1_000_000),
        number("encoder_layerdrop", "Share of the encoder's layers that a step leaves out."),
        number("decoder_layerdrop", "Share of the decoder's layers that a step leaves out."),
        word("activation_function", "Activation function, `gelu` for example."),
        integer("d_model", "Width of encoder and decoder; a multiple of their heads."),
        number("dropout", "Dropout of embeddings and layers."),
        number("attention_dropout", "Dropout of the attention's weights."),
        number("activation_dropout", "Dropout within the feed-forward layers."),
        number("init_std", "Standard deviation of the initial weights.", 0, 10),
        flag("scale_embedding", "Multiply embeddings by the square root of d_model."),
        integer(
            "max_source_positions", "Frames that the encoder can hear, 50 a second; null means max_seconds of them."
        ),
        integer("max_target_positions", "Most tokens that the decoder can write; at least max_length."),
        flag("use_weighted_layer_sum", "Average a classifier's inputs over the layers; not used here."),
        integer("classifier_proj_size", "Width of a classifier's projection; not used here."),
        flag("apply_spec_augment", "Mask parts of the spectrogram in training (SpecAugment, arXiv:1904.08779)."),
        number("mask_time_prob", "Share of the frames that SpecAugment masks."),
        integer("mask_time_length", "Frames of one mask in time."),
        integer("mask_time_min_masks", "Fewest masks in time.", 0),
        number("mask_feature_prob", "Share of the bands that SpecAugment masks."),
        integer("mask_feature_length", "Bands of one mask in frequency."),
        integer("mask_feature_min_masks", "Fewest masks in frequency.", 0),
        integer("median_filter_width", "Width of the filter for time stamps; not used here.", 1, 1024),
        flag("tie_word_embeddings", "Share the embedding with the output layer."),
    ),
    sizes=(
        Size("tiny", 1_390_000, "2 + 2 layers of width 128, 2 heads"),
        Size("small", 18_200_000, "4 + 4 layers of width 384, 6 heads, as published as tiny"),
        Size("base", 46_600_000, "6 + 6 layers of width 512, 8 heads, as published"),
    ),
    hub=True,
)
