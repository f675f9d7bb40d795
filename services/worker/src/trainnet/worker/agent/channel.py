"""gRPC channels to the coordinator."""

from __future__ import annotations

import grpc

from trainnet.runtime.keepalive import CLIENT_OPTIONS

MAX_MESSAGE = 1024 * 1024

_OPTIONS: list[tuple[str, int]] = [
    *CLIENT_OPTIONS,
    # The session has its own pauses between attempts; the channel's come on top.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.use_local_subchannel_pool", 1),
]


def open_channel(address: str) -> grpc.aio.Channel:
    """A fresh channel, with a connection of its own."""
    return grpc.aio.insecure_channel(address, options=_OPTIONS)


def describe(error: grpc.aio.AioRpcError) -> str:
    """One line for people."""
    details = " ".join((error.details() or "").split())[:300]
    return details or error.code().name
