"""What a round's updates make together, for whoever verifies: their mean, or what a robust rule makes of them."""

from __future__ import annotations

import numpy as np

from trainnet.client._codecs import FLOATS, Doubles, Update
from trainnet.client._rules import Rule
from trainnet.client._verify_source import VerifyError

Groups = list[list[tuple[int, float]]]
"""(shard, weight) of every term of every group, in order."""

_STRETCH = 1 << 20
"""Elements at a time: three fp64 arrays of this length are the memory of a mean, twelve that of a rule."""


class Mean:
    """The mean by examples, group by group."""

    stretch = _STRETCH

    def __init__(self, groups: Groups, updates: dict[int, Update]) -> None:
        self._groups, self._updates = groups, updates
        self._weight = 0.0
        for group in groups:
            for _, weight in group:
                self._weight = self._weight + weight
        if not self._weight > 0:
            raise VerifyError("the updates have no weight: every shard has 0 examples")

    def next(self, name: str, dtype: str, count: int) -> Doubles:
        """Of the next elements, all of one tensor."""
        total: Doubles | None = None
        for group in self._groups:
            subtotal: Doubles | None = None
            for shard, weight in group:
                product = self._updates[shard].next(name, dtype, count)
                product *= weight
                if subtotal is not None:
                    subtotal = subtotal + product
                else:
                    subtotal = product + 0.0 if self._updates[shard].sparse(name) else product
            assert subtotal is not None
            total = subtotal if total is None else total + subtotal
        assert total is not None
        total /= self._weight
        return total

    def problems(self) -> list[str]:
        """None: the weights are the coordinator's."""
        return []


class Weighed:
    """What a rule makes of the updates, by the weighings of the manifest; and, on the way, the products of the updates
    that these follow from."""

    def __init__(self, rule: Rule, updates: dict[int, Update]) -> None:
        self._rule, self._updates = rule, list(updates.values())
        self._products = np.zeros((len(updates), len(updates)))
        self.stretch = max(1, 4 * _STRETCH // len(updates))

    def next(self, name: str, dtype: str, count: int) -> Doubles:
        """Of the next elements, all of one tensor."""
        numbers = np.stack([update.next(name, dtype, count) for update in self._updates])
        if dtype in FLOATS and self._rule.compares:
            self._products += numbers @ numbers.T
        return self._rule.combined(numbers, sparse=self._updates[0].sparse(name))

    def problems(self) -> list[str]:
        """What of the weighings is not what the rule makes of these updates."""
        return self._rule.problems(self._products if self._rule.compares else None)
