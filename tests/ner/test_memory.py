from __future__ import annotations

import platform
import resource
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from nertrail.ner.memory import kept_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
BLOCK = 2**26  # bytes


def take(times: int) -> None:
    """Take, fill and free a block."""
    for _ in range(times):
        torch.ones(BLOCK // 4)


def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    take(10)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@glibc
def test_a_block_that_is_freed_is_used_again() -> None:
    mapped_anew = faults()
    with kept_memory():
        take(10)  # until the heap has room
        assert faults() < mapped_anew / 5


@glibc
@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_memory_is_given_back(fails: bool) -> None:
    take(1)
    before = resident()
    with suppress(KeyError), kept_memory():
        take(1)
        assert resident() > before + BLOCK / 2
        if fails:
            raise KeyError
    assert resident() < before + BLOCK / 2
