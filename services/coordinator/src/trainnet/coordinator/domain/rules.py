"""What a round's updates become before the strategy's step: the numbers of each rule, and how many harmful updates it
bears."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from trainnet.coordinator.domain import choices
from trainnet.coordinator.domain.choices import BadChoice

_ROBUST = ("byzantine", "bucket_size", "norm_clip")
RULES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "MEAN": ("norm_clip",),
        "MEDIAN": _ROBUST,
        "TRIMMED_MEAN": _ROBUST,
        "KRUM": (*_ROBUST, "keep"),
        "GEOMETRIC_MEDIAN": (*_ROBUST, "iterations"),
        "CENTERED_CLIPPING": (*_ROBUST, "clip_radius", "iterations"),
    }
)
"""Numbers of each rule."""

NUMBERS = ("byzantine", "bucket_size", "norm_clip", "keep", "clip_radius", "iterations")
"""All that some rule has."""

BUCKET_SIZE, NORM_CLIP, CLIP_RADIUS = 1, 0.0, 3.0
ITERATIONS = {"GEOMETRIC_MEDIAN": 8, "CENTERED_CLIPPING": 1}
SHARE = 5
"""One in so many updates is taken to be harmful where the owner says nothing."""


def weighs(rule: str, norm_clip: float) -> bool:
    """Whether the merge has to find out what each update counts for: else it is the mean by examples, whose partial
    sums can be made as updates come in."""
    return rule != "MEAN" or norm_clip > 0


def rows_of(updates: int, bucket_size: int) -> int:
    """What the rule sees of so many updates: themselves, or their buckets."""
    return -(-updates // bucket_size)


def borne(rule: str, rows: int) -> int:
    """Harmful ones that the rule bears among so many; negative where it cannot work at all."""
    return math.floor((rows - 3) / 2) if rule == "KRUM" else (rows - 1) // 2


def complete(rule: str, given: Mapping[str, float], fewest: int) -> dict[str, float]:
    """Every number of a rule, for rounds that may close with `fewest` updates. Raises BadChoice for a number that it
    does not have, and for more harmful updates than it bears."""
    choices.refuse_unused(RULES, rule, given, {})
    if rule == "MEAN":
        return {"norm_clip": NORM_CLIP, **given}
    size = int(given.get("bucket_size", BUCKET_SIZE))
    rows = rows_of(fewest, size)
    most = borne(rule, rows)
    if most < 0:
        raise BadChoice(
            "rule", f"{rule} needs at least 3 {_named(size)}, and a round may close with {rows}: {_more(size)}"
        )
    harmful = int(given.get("byzantine", min(fewest // SHARE, most)))
    if harmful > most:
        needed = (2 * harmful + (2 if rule == "KRUM" else 0)) * size + 1
        raise BadChoice(
            "byzantine",
            f"{rule} bears at most {most} harmful of {fewest} updates{_in(rows, size)}, not {harmful}: say "
            f"byzantine={most}, or let no round close with less than {needed} updates (shards, sample, quorum, buffer)",
        )
    defaults: dict[str, float] = {
        "byzantine": harmful,
        "bucket_size": size,
        "norm_clip": NORM_CLIP,
        "clip_radius": CLIP_RADIUS,
        "iterations": ITERATIONS.get(rule, 0),
        "keep": rows - harmful - 2,
    }
    numbers = {name: given.get(name, defaults[name]) for name in RULES[rule]}
    if rule == "KRUM" and numbers["keep"] > defaults["keep"]:
        raise BadChoice(
            "keep",
            f"KRUM keeps at most {defaults['keep']:.0f} of {rows} {_named(size)} (all but byzantine={harmful} and two),"
            f" not {numbers['keep']:.0f}: leave it out, or say less",
        )
    return numbers


def _named(bucket_size: int) -> str:
    return "updates" if bucket_size == 1 else f"buckets of {bucket_size} updates"


def _in(rows: int, bucket_size: int) -> str:
    return f" in {rows} buckets" if bucket_size > 1 else ""


def _more(bucket_size: int) -> str:
    return "take more shards, sample or wait for more" + (", or take smaller buckets" if bucket_size > 1 else "")
