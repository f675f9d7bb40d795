"""Freed buffers go back to the system."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from trainnet.aggregator.memory import return_freed_buffers

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) * 1024

assert return_freed_buffers()
np.ones(3 << 20)  # freed at once: 24 MB, what glibc's threshold would follow
before = resident()
freed = [np.ones(1 << 20) for _ in range(8)]
kept = np.ones(1 << 16)
del freed
print(resident() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the switch")
def test_a_freed_buffer_below_one_that_stays_is_returned() -> None:
    answer = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    stays = int(answer.stdout)
    assert stays < 8 << 20, f"{stays >> 20} MB stay"
