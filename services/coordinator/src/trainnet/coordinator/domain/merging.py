"""The numbers that each merge strategy has, and what they are where their owner says nothing."""

from collections.abc import Mapping
from types import MappingProxyType

STRATEGIES: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "FEDAVG": {},
        "FEDAVGM": {"server_learning_rate": 1.0, "server_momentum": 0.9},
        "NESTEROV": {"server_learning_rate": 0.7, "server_momentum": 0.9},
        "FEDADAM": {"server_learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99, "epsilon": 0.001},
        "FEDYOGI": {"server_learning_rate": 0.01, "beta1": 0.9, "beta2": 0.99, "epsilon": 0.001},
        "FEDADAGRAD": {"server_learning_rate": 0.1, "epsilon": 0.001},
    }
)
"""By strategy, as its paper has them. One that has numbers keeps a state from round to round."""

NUMBERS = ("server_learning_rate", "server_momentum", "beta1", "beta2", "epsilon")
"""All that some strategy has."""


_ALSO = {"NESTEROV": "NESTEROV (diloco)"}
"""What else people call a strategy."""


class BadPolicy(ValueError):
    """A policy that makes no sense; `field` is the number at fault."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


def keeps_state(strategy: str) -> bool:
    """Whether merges hand a state of the server's optimiser from round to round."""
    return bool(STRATEGIES[strategy])


def complete(strategy: str, given: Mapping[str, float]) -> dict[str, float]:
    """Every number of a strategy. Raises BadPolicy for one that it does not have: who gives it expects an effect."""
    known = STRATEGIES[strategy]
    for field in given:
        if field not in known:
            has = f"it has {', '.join(known)}" if known else "it has no numbers"
            users = ", ".join(_ALSO.get(name, name) for name, numbers in STRATEGIES.items() if field in numbers)
            said = _ALSO.get(strategy, strategy)
            raise BadPolicy(field, f"{said} has no {field} ({has}): leave it out, or choose one of {users}")
    return {**known, **given}
