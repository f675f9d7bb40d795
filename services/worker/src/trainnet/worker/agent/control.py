"""The agent's own door: a Unix socket in the data directory that only its owner may open. One JSON line each way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

SOCKET = "agent.sock"
_LONGEST = 100
_DEADLINE = 10.0

Handler = Callable[[str], Awaitable[dict[str, Any]]]


class AgentNotRunning(Exception):
    """No agent runs with this data directory."""


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """A socket's path has room for about 100 bytes; a folder that lies deeper is reached by its descriptor."""
    path = str(folder / SOCKET)
    if len(os.fsencode(path)) <= _LONGEST or sys.platform != "linux":
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


async def serve(folder: Path, handle: Handler) -> asyncio.Server:
    """Listens; the caller holds the folder's lock, so a socket that is left there belongs to nobody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                command = json.loads(await reader.readline()).get("command")
                writer.write(json.dumps(await handle(str(command))).encode() + b"\n")
                await writer.drain()
        except (ValueError, AttributeError, TimeoutError, ConnectionError):
            pass  # whoever asked has gone, or spoke nonsense
        finally:
            writer.close()

    (folder / SOCKET).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Private from its first moment: bind takes the mode from the mask.
    mask = os.umask(0o177)
    try:
        with _address(folder) as address:
            listener.bind(address)
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return await asyncio.start_unix_server(answer, sock=listener)


def ask(folder: Path, command: str) -> dict[str, Any]:
    """Asks the running agent. Raises AgentNotRunning."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_DEADLINE)
        try:
            with _address(folder) as address:
                client.connect(address)
            client.sendall(json.dumps({"command": command}).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                chunk = client.recv(65536)
                if not chunk:
                    break
                received += chunk
            answer = json.loads(received)
        except (OSError, ValueError) as error:
            raise AgentNotRunning(f"no worker runs with {folder}") from error
    if not isinstance(answer, dict):
        raise AgentNotRunning(f"no worker runs with {folder}")
    return answer
