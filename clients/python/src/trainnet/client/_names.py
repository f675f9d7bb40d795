"""Resource names: what people type and what the contract wants."""

from __future__ import annotations

import re

from trainnet.client._errors import FieldViolation, InvalidArgument

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def resource(collection: str, name: str) -> str:
    """`jobs/x` for `x` or `jobs/x`. Raises InvalidArgument for what can be no name."""
    found = name.removeprefix(f"{collection}/")
    if not _ID.fullmatch(found):
        singular = collection.removesuffix("s")
        raise InvalidArgument(
            f"{name!r} is no name of a {singular}",
            violations=(FieldViolation("name", "is no resource name"),),
            hint=f"list them with `trainnet {collection} list`",
        )
    return f"{collection}/{found}"


def looks_like(collection: str, name: str) -> bool:
    """Whether a text can name a resource of the collection."""
    return _ID.fullmatch(name.removeprefix(f"{collection}/")) is not None
