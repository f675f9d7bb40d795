"""Doing the steps of a merge for one slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainnet.aggregator import kernels, optimizers
from trainnet.aggregator.fold import AddBase, AddPartial, AddTerm, Advance, Clear, Combine, Reader
from trainnet.aggregator.kernels import Acc, Bytes, Scratch
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.rows import RowBlocks
from trainnet.aggregator.rules.coordinate import combine, middle
from trainnet.aggregator.sparse_rows import blocks, sparse_rows


class Folder:
    """The sums of one slice at a time; one per thread, used again for every slice."""

    WORTH_A_THREAD = kernels.BLOCK
    """Elements below which another thread costs more than it saves."""

    def __init__(self, max_elements: int, *, grouped: bool) -> None:
        self.total: Acc = np.zeros(max_elements)
        self._group: Acc = np.zeros(max_elements if grouped else 0)
        self._scratch = Scratch(max_elements)
        self._blocks = RowBlocks(self._scratch)

    def apply(self, step: Reader, data: Bytes, where: Slice) -> None:
        """Does one step; after AddBase, `data` holds the merged bytes, after Advance the new state."""
        match step:
            case AddTerm():
                acc = self.total if step.opens else self._group
                step.add_to(acc[: where.count], data, where, self._scratch)
                if step.last and not step.opens:
                    np.add(self.total[: where.count], acc[: where.count], out=self.total[: where.count])
            case AddPartial():
                kernels.add_partial(self.total, data, where, first=step.opens)
            case Clear():
                self.total[: where.count] = 0.0
            case Advance():
                if not step.key:
                    optimizers.set_initial(data, step.optimizer)
                optimizers.advance(self.total, data, where, step.total_weight, step.optimizer, self._scratch)
            case AddBase():
                kernels.finish(self.total, data, where, step.total_weight, self._scratch)

    def combine(self, step: Combine, data: Sequence[Bytes], where: Slice) -> None:
        """Makes the total of what was read for each of the step's terms."""
        left_out = middle(len(step.rows), step.drop).start
        for block, parts in blocks(step.terms, data, where):
            begin = block.first - where.first
            total = self.total[begin : begin + block.count]
            sparse = sparse_rows(step.rows, parts, block)
            if sparse is None:
                for first, rows in self._blocks.of(step.rows, parts, block):
                    combine(rows, step.drop, total[first : first + rows.shape[1]])
                continue
            # Where no more rows have a number than are left out at both ends each, all that is kept are zeros.
            total[:] = 0.0
            for columns, rows in sparse.columns_of_more(left_out):
                found = np.empty(len(columns))
                combine(rows, step.drop, found)
                total[columns] = found
