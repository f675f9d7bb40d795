"""What `size` means: the fields of a transformers configuration that each name sets.

What stands in no size keeps the default of its configuration class.
"""

from __future__ import annotations

from collections.abc import Mapping

Scalar = bool | int | float | str
Fields = Mapping[str, Scalar]

# Its own 0.8 is for ImageNet; a few thousand images of a few classes would not be learnt at all.
_MOBILE = {"classifier_dropout_prob": 0.2}

SIZES: Mapping[str, Mapping[str, Fields]] = {
    "mobilenet_v2": {
        "tiny": {**_MOBILE, "depth_multiplier": 0.35},
        "small": {**_MOBILE, "depth_multiplier": 0.75},
        "base": {**_MOBILE, "depth_multiplier": 1.0},
    },
    "vit": {
        "tiny": {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768},
        "small": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536},
        "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    },
    "distilbert": {
        "tiny": {"dim": 128, "n_layers": 2, "n_heads": 2, "hidden_dim": 512},
        "small": {"dim": 384, "n_layers": 3, "n_heads": 6, "hidden_dim": 1536},
        "base": {"dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072},
    },
    "bert": {
        "tiny": {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 512},
        "small": {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048},
        "base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072},
    },
    "gpt2": {
        "tiny": {"n_embd": 128, "n_layer": 4, "n_head": 4, "n_positions": 512},
        "small": {"n_embd": 384, "n_layer": 6, "n_head": 6, "n_positions": 512},
        "base": {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024},
    },
    "whisper": {
        name: {
            "d_model": width,
            "encoder_layers": layers,
            "decoder_layers": layers,
            "encoder_attention_heads": heads,
            "decoder_attention_heads": heads,
            "encoder_ffn_dim": 4 * width,
            "decoder_ffn_dim": 4 * width,
        }
        # `small` and `base` are as large as the published whisper-tiny and whisper-base.
        for name, width, layers, heads in (("tiny", 128, 2, 2), ("small", 384, 4, 6), ("base", 512, 6, 8))
    },
}
