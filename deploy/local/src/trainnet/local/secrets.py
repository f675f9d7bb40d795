"""The secrets of a local stack: made on its first start, kept in DATA/secrets.json."""

import dataclasses
import json
import os
import secrets
from pathlib import Path

import nkeys

from trainnet.local.errors import DataFolderUnusable
from trainnet.local.files import write_private


def token() -> str:
    return secrets.token_urlsafe(24)


def account_seed() -> str:
    """An nkeys seed of a NATS account ('SA…'): what the auth callout signs its answers with."""
    return str(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_ACCOUNT).decode())


@dataclasses.dataclass(frozen=True)
class Secrets:
    """Everything that lets a process into the stack; repr shows none of it."""

    admin_token: str = dataclasses.field(default_factory=token, repr=False)
    aggregator_token: str = dataclasses.field(default_factory=token, repr=False)
    # Lets a worker into the trusted pool.
    join_token: str = dataclasses.field(default_factory=token, repr=False)
    s3_access_key: str = dataclasses.field(default_factory=token, repr=False)
    s3_secret_key: str = dataclasses.field(default_factory=token, repr=False)
    nats_coordinator_password: str = dataclasses.field(default_factory=token, repr=False)
    nats_callout_password: str = dataclasses.field(default_factory=token, repr=False)
    nats_callout_seed: str = dataclasses.field(default_factory=account_seed, repr=False)
    # The object store's own parts talk to each other with these; nobody else ever gets them.
    weed_signing_key: str = dataclasses.field(default_factory=token, repr=False)
    weed_signing_read_key: str = dataclasses.field(default_factory=token, repr=False)
    weed_filer_signing_key: str = dataclasses.field(default_factory=token, repr=False)
    weed_filer_signing_read_key: str = dataclasses.field(default_factory=token, repr=False)

    @property
    def nats_callout_public_key(self) -> str:
        return str(nkeys.from_seed(self.nats_callout_seed.encode()).public_key.decode())


def load_or_create(data_dir: Path) -> Secrets:
    """The secrets of this data folder. Ones that an older version did not know are added, none is ever changed."""
    path = data_dir / "secrets.json"
    kept: dict[str, str] = {}
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict):
                raise TypeError("it holds no object")
            kept = {field.name: str(found[field.name]) for field in dataclasses.fields(Secrets) if field.name in found}
        except (OSError, ValueError, TypeError) as error:
            # New secrets would lock the owner out of the data that the old ones open.
            raise DataFolderUnusable(
                path, f"cannot be read as secrets ({error}); restore it or remove the folder"
            ) from error
    loaded = Secrets(**kept)
    if len(kept) < len(dataclasses.fields(Secrets)):
        write_private(path, json.dumps(dataclasses.asdict(loaded), indent=2) + "\n")
    path.chmod(0o600)
    return loaded
