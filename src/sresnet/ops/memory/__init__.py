"""What happens to memory that is freed."""

import ctypes
import functools
import sys
from pathlib import Path

from sresnet.ops.scan import native

SOURCE = Path(__file__).with_name("allocator.cpp")
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGE = 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Keep freed memory for the next tensor, for the whole process; False where that is not possible.

    By itself glibc gives the memory of large tensors back to the system and asks for it again at every layer of every
    step, and the system hands out empty pages one fault at a time. On a virtual machine that can cost as much as a
    layer's arithmetic. Large tensors have an allocator of their own then (`allocator.cpp`), everything else is kept by
    glibc. The price: the process never shrinks below its largest size.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    if (library := native.load(SOURCE)) is not None:
        library.keep_freed_tensors()
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE)) and bool(mallopt(M_TRIM_THRESHOLD, 2 * LARGE - 1))
