"""The architectures that workers can train: what a ModelSpec builds."""

from trainnet.worker.trainer.models.build import build_model
from trainnet.worker.trainer.models.model import Model
from trainnet.worker.trainer.models.plain import build

__all__ = ["Model", "build", "build_model"]
