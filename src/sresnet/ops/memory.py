"""What the C library does with freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE = 2**30


def keep_freed_memory() -> bool:
    """Ask glibc to keep what is freed for the next tensor, for the whole process; False where that is not possible.

    By itself it gives the memory of large tensors back to the system and asks for it again at every layer of every
    step, and the system hands out empty pages one fault at a time. On a virtual machine that can cost as much as a
    layer's arithmetic. The price: the process never shrinks below its largest size.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * LARGE - 1))
