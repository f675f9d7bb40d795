"""From a folder to what runs it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainnet.worker.predict.families import ImageClassifier, TextClassifier, Transcriber, Writer
from trainnet.worker.predict.inputs import PredictError
from trainnet.worker.predict.plain import ImagePredictor, TablePredictor
from trainnet.worker.predict.results import Predictor
from trainnet.worker.trainer.models.bundle import CONFIG
from trainnet.worker.trainer.models.families import FAMILIES
from trainnet.worker.trainer.models.folder import WEIGHTS


def load(folder: Path, max_tokens: int) -> Predictor:
    """The model of a folder that `trainnet jobs download` wrote. Raises PredictError and TaskError."""
    if not (folder / CONFIG).is_file():
        raise PredictError(f"{folder} is no model's folder: it has no {CONFIG}; `trainnet jobs download` writes one")
    if not (folder / WEIGHTS).is_file():
        raise PredictError(f"{folder} has no {WEIGHTS}: download the model again")
    try:
        config: Any = json.loads((folder / CONFIG).read_bytes())
        architecture = config.get("model_type") or config["architecture"]
    except (ValueError, KeyError, AttributeError) as error:
        raise PredictError(f"{folder / CONFIG} is no model's configuration: {error!r}") from error
    match architecture:
        case "mlp":
            return TablePredictor(folder, config)
        case "cnn":
            return ImagePredictor(folder, config)
        case "vit" | "mobilenet_v2":
            return ImageClassifier(FAMILIES[architecture], folder)
        case "distilbert" | "bert":
            return TextClassifier(FAMILIES[architecture], folder)
        case "gpt2":
            return Writer(FAMILIES[architecture], folder, max_tokens)
        case "whisper":
            return Transcriber(FAMILIES[architecture], folder)
    raise PredictError(f"{folder} holds a {architecture!r}, which predict does not run")
