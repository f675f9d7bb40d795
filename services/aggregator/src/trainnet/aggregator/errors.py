"""Errors of the aggregator; they stay inside the process.

AggregatorError
├── Cancelled      the work is not wanted any more
└── Unmergeable    the work can never succeed as it was given
"""

from __future__ import annotations


class AggregatorError(Exception):
    """The work could not be done."""


class Cancelled(AggregatorError):
    """The claim is not live any more, or the process stops."""

    def __init__(self) -> None:
        super().__init__("cancelled")


class Unmergeable(AggregatorError):
    """Base, updates or weights do not fit together; trying again would not help."""
