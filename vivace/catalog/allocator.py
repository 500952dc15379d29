"""Asks the C library to keep freed memory, so that every chunk reuses the pages of the one before."""

import ctypes
import sys

# parameters of glibc's mallopt (malloc.h)
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_KEPT_BYTES = 512 << 20


def keep_freed_memory() -> bool:
    """Stop glibc from giving large freed blocks back to the system; true where that works (Linux, glibc).

    A chunk allocates and frees the same few megabytes of activations again and again. By default each of them
    is mapped, zeroed page by page and unmapped; on two cores that took a quarter of the time of the video
    VAE. The process keeps up to 512 MiB it does not use.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False  # another C library
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
