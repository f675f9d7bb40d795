"""The architectures that workers can train: what a ModelSpec builds."""

from trainnet.worker.trainer.models.plain import BUILDERS, build

__all__ = ["BUILDERS", "build"]
