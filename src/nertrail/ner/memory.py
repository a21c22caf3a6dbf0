"""How the C library deals with the large blocks that every training step takes and gives back."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of mallopt(3), from glibc's malloc.h
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}
# Setting any of them ends glibc's own adjustment, so afterwards they are where it ends: at blocks of 32 MiB.
_RELEASE = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}


@contextmanager
def kept_memory() -> Iterator[None]:
    """Memory that is freed stays with the process for the next step, where the C library is glibc.

    glibc maps a large block anew each time and gives it back when it is freed, so that each step pays for page faults
    on the gradient of the embeddings and on every activation: a quarter of a bf16 step. While this lasts, the process
    does not shrink.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    _set(libc, _KEEP)
    try:
        yield
    finally:
        _set(libc, _RELEASE)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, values: Mapping[int, int]) -> None:
    for name, value in values.items():
        libc.mallopt(name, value)
