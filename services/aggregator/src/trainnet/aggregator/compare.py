"""The pass over all updates that a rule of distances needs first: the products of each with each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from trainnet.aggregator.errors import Cancelled, Unmergeable
from trainnet.aggregator.fold import AddTerm, place_of, shares_of
from trainnet.aggregator.kernels import BLOCK, FLOATS, Bytes, Scratch
from trainnet.aggregator.layout import Slice
from trainnet.aggregator.pipeline import read_ahead
from trainnet.aggregator.rows import RowBlocks
from trainnet.aggregator.rules.gram import Gram
from trainnet.aggregator.sparse_rows import SparseRows, blocks, sparse_rows
from trainnet.runtime.store import ObjectStore

MOST_UPDATES = 4096
"""Their products take 128 MiB; more is refused."""


class Products:
    """The sums of products over stretches of the model; one per thread."""

    def __init__(self, terms: Sequence[AddTerm], max_elements: int) -> None:
        self._terms = [replace(term, weight=1.0, first=True) for term in terms]
        self._rows = [[term] for term in self._terms]
        self._blocks = RowBlocks(Scratch(max_elements))
        self.sums: Gram = np.zeros((len(terms), len(terms)))

    def add(self, data: Sequence[Bytes], where: Slice) -> None:
        """Integers are counters and masks, no direction, and do not count."""
        with np.errstate(all="ignore"):
            for block, parts in blocks(self._terms, data, where):
                sparse = sparse_rows(self._rows, parts, block)
                self.sums += self._dense(parts, block) if sparse is None else _sparse(sparse)

    def _dense(self, data: Sequence[Bytes], where: Slice) -> Gram:
        found: Gram = np.zeros_like(self.sums)
        for begin, rows in self._blocks.of(self._rows, data, where, fp64=True):
            for piece in where.pieces:
                if piece.dtype not in FLOATS:
                    rows[:, max(0, piece.first - begin) : max(0, piece.first + piece.count - begin)] = 0.0
            found += rows @ rows.T
        return found


def _sparse(found: SparseRows) -> Gram:
    """A column in which one row alone has a number adds to that row's square, and to nothing else."""
    squares = found.squares()
    sums: Gram = np.zeros((len(squares), len(squares)))
    for _, rows in found.columns_of_more(1):
        sums += rows @ rows.T
    np.fill_diagonal(sums, squares)
    return sums


def compare(
    store: ObjectStore, terms: Sequence[AddTerm], slices: Sequence[Slice], *, threads: int, cancel: threading.Event
) -> Gram:
    """Products of the floating-point numbers of n updates, [n, n] in the order of `terms`, each of which is read once;
    their last bits depend on how the work is cut. Raises Cancelled, Unmergeable, StoreError."""
    _check_count(terms)
    largest = max((where.count for where in slices), default=1)
    threads = max(1, min(threads, largest, len(terms) * largest // BLOCK))
    team = [Products(terms, -(-largest // threads)) for _ in range(threads)]
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="compare") as pool,
        read_ahead(store, terms, slices, depth=2 * len(terms), cancel=cancel) as ahead,
    ):
        for where in slices:
            data = ahead.take(len(terms))
            calls = []
            for member, part in zip(team, where.split(threads), strict=False):
                calls.append(pool.submit(member.add, shares_of(terms, data, where, part), part))
            for call in calls:
                call.result()
        if cancel.is_set():
            raise Cancelled
        return _total(member.sums for member in team)


def compare_in_memory(terms: Sequence[AddTerm], files: Sequence[Bytes], slices: Sequence[Slice]) -> Gram:
    """The same of whole files."""
    _check_count(terms)
    products = Products(terms, max((where.count for where in slices), default=1))
    for where in slices:
        places = [place_of(term, where) for term in terms]
        products.add([file[begin:end] for file, (begin, end) in zip(files, places, strict=True)], where)
    return products.sums


def _check_count(terms: Sequence[AddTerm]) -> None:
    if len(terms) > MOST_UPDATES:
        raise Unmergeable(f"a rule that compares updates takes {MOST_UPDATES} at most, not {len(terms)}")


def _total(parts: Iterable[Gram]) -> Gram:
    found: Gram = np.sum(list(parts), axis=0)
    return found
