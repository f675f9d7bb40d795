"""Makes freed buffers go back to the system, so that the peak of memory is what is in use at a time.

glibc raises the size from which it maps memory afresh each time a mapped buffer is freed, and keeps what lies below in
an arena for each thread. With megabytes for each slice and part, and threads that come and go with each task, memory
then follows the number of updates. Fixed values switch that off (mallopt(3), "dynamic mmap threshold").
"""

import ctypes

_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_THRESHOLD_BYTES = 256 * 1024
_ARENAS = 2


def return_freed_buffers() -> bool:
    """Call before the first thread starts. False where the C library has no such switch; all works there too."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)) and bool(mallopt(_M_ARENA_MAX, _ARENAS))
