"""The aggregator's own benchmarks, each in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from types import MappingProxyType

from trainnet.local import weed
from trainnet.local.errors import LocalError
from trainnet.local.ports import HOST
from trainnet.local.stack import LocalStack

SECONDS = 3600.0


def store_settings(stack: LocalStack) -> dict[str, str]:
    """How an aggregator finds the store of a running stack."""
    assert stack.ports is not None, "the stack runs"
    assert stack.secrets is not None, "the stack runs"
    return {
        "TRAINNET_S3_ENDPOINT": f"{HOST}:{stack.ports.s3}",
        "TRAINNET_S3_ACCESS_KEY": stack.secrets.s3_access_key,
        "TRAINNET_S3_SECRET_KEY": stack.secrets.s3_secret_key,
        "TRAINNET_S3_BUCKET": weed.BUCKET,
    }


def rates(
    name: str, *arguments: str, work: str = "", settings: Mapping[str, str] = MappingProxyType({})
) -> dict[str, float]:
    """The numbers of one. Raises LocalError."""
    found: dict[str, float] = json.loads(run(name, "--json", *arguments, work=work, settings=settings))
    return found


def run(name: str, *arguments: str, work: str = "", settings: Mapping[str, str] = MappingProxyType({})) -> str:
    """What it prints. Raises LocalError."""
    try:
        answer = subprocess.run(
            [sys.executable, "-m", "trainnet.aggregator.bench", name, *arguments],
            check=True,
            input=work,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env={**os.environ, **settings},
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr.strip().splitlines() or ["it did not say why"])[-1]
        raise LocalError(f"the aggregator's benchmark `{name}` failed: {said}") from None
    except subprocess.TimeoutExpired:
        raise LocalError(f"the aggregator's benchmark `{name}` took more than {SECONDS:g} s") from None
    return answer.stdout
