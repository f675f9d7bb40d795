"""What test_stack.py starts as a process of its own, to kill it: NATS and the object store until a signal comes."""

import sys
import threading
from pathlib import Path

from trainnet.local.signals import StopSignals
from trainnet.local.stack import LocalStack

if __name__ == "__main__":
    stack = LocalStack(Path(sys.argv[1]), infrastructure_only=True)
    with StopSignals(stack):
        try:
            with stack:
                print("ready", flush=True)
                threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)
