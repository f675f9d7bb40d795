"""`python -m trainnet.worker.trainer`: started by the agent, never by hand."""

from __future__ import annotations

import os
import signal

from trainnet.worker.trainer.parent import die_with_parent

# Ctrl-C and a group's SIGTERM reach the agent too, which decides what becomes of the task.
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
die_with_parent(int(os.environ.get("TRAINNET_TRAINER_PARENT", "0")))

from trainnet.runtime import log  # noqa: E402
from trainnet.worker.trainer.process import main  # noqa: E402

log.configure(
    "trainer",
    level=os.environ.get("TRAINNET_LOG_LEVEL", "info"),
    format=os.environ.get("TRAINNET_LOG_FORMAT", "auto"),  # type: ignore[arg-type]
)
main()
