"""What every command shares: the global options and the client made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from trainnet.client import Client


@dataclass(frozen=True)
class Globals:
    """The global options as given; None leaves the choice to the client."""

    address: str | None
    token: str | None = field(repr=False)


def connect(context: typer.Context) -> Client:
    """The client for this command; it is closed when the command ends."""
    from trainnet.client import Client  # gRPC takes its time; help and usage errors need none of it

    shared: Globals = context.find_object(Globals) or Globals(None, None)
    client: Client = context.with_resource(Client(shared.address, shared.token))
    return client
