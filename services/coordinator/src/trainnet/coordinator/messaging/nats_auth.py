"""Who may do what on NATS: the server asks here for every connection that is no service of ours (auth callout).

A worker shows its token and may subscribe to its own assignment subject, nothing else; it may publish nothing.
The JWTs follow NATS's ADR-26 (authorization callout), signed by the account seed that the server trusts.
"""

import asyncio
import base64
import hashlib
import json
import time
from typing import Any

import nkeys
from nats.aio.client import Client
from nats.aio.msg import Msg

from trainnet.coordinator.messaging.assignments import subject_of
from trainnet.coordinator.usecases.workers import Workers
from trainnet.runtime.log import get_logger

SUBJECT = "$SYS.REQ.USER.AUTH"
ACCOUNT = "APP"
LOGIN_SECONDS = 24 * 3600
"""A login ends after this long; the client's library makes a new one, so that a revoked token dies out."""


def inbox_prefix(worker: str) -> str:
    return f"_INBOX.{worker}"


class NatsAuth:
    def __init__(self, client: Client, seed: str, workers: Workers) -> None:
        self._client = client
        self._key = nkeys.from_seed(seed.encode())
        self._workers = workers
        self._log = get_logger(__name__)
        self._answers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._client.subscribe(SUBJECT, queue="coordinators", cb=self._asked)

    async def _asked(self, message: Msg) -> None:
        # Answered beside the subscription's loop: one slow look-up must not hold up the other logins.
        task = asyncio.create_task(self._answer(message))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, message: Msg) -> None:
        try:
            request = _claims(message.data.decode())["nats"]
            token = request["connect_opts"].get("auth_token", "")
            response: dict[str, Any] = {"type": "authorization_response", "version": 2}
            identity = await self._workers.identify(token) if token else None
            if identity is None or identity.banned:
                response["error"] = "unknown token"
            else:
                response["jwt"] = self._user(request["user_nkey"], identity.worker)
            claims = {"aud": request["server_id"]["id"], "sub": request["user_nkey"], "nats": response}
            await message.respond(self._sign(claims).encode())
        except Exception:  # noqa: BLE001  # whatever one login brings, the next one must be answered
            # The server denies after its own timeout and the client tries again.
            self._log.exception("login on NATS was not answered")

    def _user(self, nkey: str, worker: str) -> str:
        permissions = {
            "pub": {"deny": [">"]},
            "sub": {"allow": [subject_of(worker)]},
        }
        limits = {"subs": 10, "payload": 65536, "data": -1}
        return self._sign(
            {
                "sub": nkey,
                "name": worker,
                "aud": ACCOUNT,
                "exp": int(time.time()) + LOGIN_SECONDS,
                "nats": {"type": "user", "version": 2, **limits, **permissions},
            }
        )

    def _sign(self, claims: dict[str, Any]) -> str:
        claims = {**claims, "iss": self._key.public_key.decode(), "iat": int(time.time())}
        identifier = hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()
        claims["jti"] = base64.b32encode(identifier).rstrip(b"=").decode()
        signed = f"{_encode({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encode(claims)}"
        return f"{signed}.{_base64(self._key.sign(signed.encode()))}"


def _encode(value: dict[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _claims(jwt: str) -> Any:
    """Claims of a request; the connection it came by is the server's own, so the signature says nothing new."""
    payload = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
