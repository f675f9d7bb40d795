"""`python -m trainnet.coordinator` runs one replica, set up by TRAINNET_* variables."""

import sys

from trainnet.coordinator.app import main
from trainnet.runtime.lifecycle import run

if __name__ == "__main__":
    sys.exit(run(main, service="coordinator"))
