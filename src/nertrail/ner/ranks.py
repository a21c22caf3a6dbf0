"""The processes of one training, as torchrun and accelerate start them. Alone, everything here is the identity."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


def world() -> int:
    """How many processes train together, by the launcher's environment; 1 alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number among them; 0 writes the files and speaks."""
    return int(os.environ.get("RANK", "0")) if world() > 1 else 0


def agreed(value: T) -> T:
    """What the first process says, in all of them. Every process has to call it, once the training's are connected."""
    if world() == 1:
        return value
    held: list[Any] = [value]
    _processes().broadcast_object_list(held, src=0)
    said: T = held[0]
    return said


def collected(value: T) -> list[T]:
    """Every process's value, in the order of their numbers, in all of them."""
    if world() == 1:
        return [value]
    held: list[Any] = [None] * world()
    _processes().all_gather_object(held, value)
    return held


def wait() -> None:
    """Go on once every process has come here."""
    if world() > 1:
        _processes().barrier()


def end(code: int) -> NoReturn:
    """End this process as one of several, once what is registered for its end was done and its output is out.

    Not by the interpreter: torch's threads, left to its end, were seen to abort a process that was done ("terminate
    called without an active exception"), and the launcher then calls the whole training failed.
    """
    atexit._run_exitfuncs()  # what multiprocessing does before it ends a child the same way
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _processes() -> Any:
    import torch.distributed as processes

    return processes
