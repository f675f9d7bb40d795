"""`python -m trainnet.aggregator`."""

from __future__ import annotations

import os
import sys

# The threads of a merge share its slices already; a pool of BLAS's own would only cost memory. Read when numpy is
# imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main() -> int:
    from trainnet.aggregator.memory import return_freed_buffers

    return_freed_buffers()
    from trainnet.aggregator.app import main as serve
    from trainnet.runtime import lifecycle

    return lifecycle.run(serve, service="aggregator")


if __name__ == "__main__":
    sys.exit(main())
