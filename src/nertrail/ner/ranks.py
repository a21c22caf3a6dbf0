"""The processes of one training, as torchrun and accelerate start them. Alone, everything here is the identity."""

from __future__ import annotations

import os
from typing import Any, TypeVar

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
    import torch.distributed as processes

    held: list[Any] = [value]
    processes.broadcast_object_list(held, src=0)
    said: T = held[0]
    return said


def collected(value: T) -> list[T]:
    """Every process's value, in the order of their numbers, in all of them."""
    if world() == 1:
        return [value]
    import torch.distributed as processes

    held: list[Any] = [None] * world()
    processes.all_gather_object(held, value)
    return held


def wait() -> None:
    """Go on once every process has come here."""
    if world() > 1:
        import torch.distributed as processes

        processes.barrier()
