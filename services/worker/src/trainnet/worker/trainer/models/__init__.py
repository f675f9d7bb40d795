"""The architectures that workers can train: what a ModelSpec builds."""

from trainnet.worker.trainer.models.build import build_model
from trainnet.worker.trainer.models.model import Model

__all__ = ["Model", "build_model"]
