"""Where the coordinator is and how to prove who one is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trainnet.client._errors import ConfigurationError


@dataclass(frozen=True)
class Endpoint:
    """A coordinator: `host:port`, whether it speaks TLS, and the token to show it (may be empty)."""

    target: str
    secure: bool
    token: str = field(repr=False)


def data_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Folder of the local stack: TRAINNET_DATA, else ~/.local/share/trainnet."""
    named = environ.get("TRAINNET_DATA")
    return Path(named).expanduser() if named else Path.home() / ".local" / "share" / "trainnet"


def resolve(address: str | None, token: str | None, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Address and token from the arguments, else TRAINNET_COORDINATOR and TRAINNET_TOKEN, else `endpoints.json` of a
    stack on this machine. The file's token goes to the file's address only, never to another one.

    Raises ConfigurationError.
    """
    address = address or environ.get("TRAINNET_COORDINATOR") or None
    token = token or environ.get("TRAINNET_TOKEN") or None
    if address is None or token is None:
        local = _endpoints(data_directory(environ) / "endpoints.json", required=address is None)
        found = local.get("grpc", "")
        if address is None:
            address, token = found, token or local.get("token")
        elif found and _parse(address) == _parse(found):
            token = local.get("token")
    target, secure = _parse(address)
    return Endpoint(target, secure, token or "")


def _endpoints(path: Path, *, required: bool) -> dict[str, str]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not required:
            return {}
        raise ConfigurationError(
            "no coordinator is known: neither an address is given nor does a stack run on this machine",
            hint="start one with `trainnet up`, or set --address or TRAINNET_COORDINATOR; "
            "for a stack with --data FOLDER set TRAINNET_DATA=FOLDER",
        ) from None
    except (OSError, ValueError) as error:
        if not required:
            return {}
        raise ConfigurationError(f"{path} cannot be read: {error}", hint="start `trainnet up` again") from None
    if not isinstance(loaded, dict) or not isinstance(loaded.get("grpc"), str):
        if not required:
            return {}
        raise ConfigurationError(f"{path} names no coordinator", hint="start `trainnet up` again")
    return {key: value for key, value in loaded.items() if isinstance(value, str)}


def _parse(address: str) -> tuple[str, bool]:
    """`host:port` and whether it is TLS; accepts `http://` (plain text) and `https://` in front."""
    scheme, mark, rest = address.strip().rpartition("://")
    target = rest.rstrip("/")
    host, colon, port = target.rpartition(":")
    if (mark and scheme not in ("http", "https")) or not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(
            f"{address!r} is no address of a coordinator", hint="write host:port, or https://host:port for TLS"
        )
    return target, scheme == "https"
