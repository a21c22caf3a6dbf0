"""In which order windows are trained on, so that batches waste little on padding and none is always first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL_BATCHES = 50  # windows are sorted by length within so many batches' worth; more saves padding, mixes less


class Order(Sampler[int]):  # type: ignore[misc]  # torch is not followed
    """Indices of one epoch, drawn anew for each from the epoch's number alone.

    So a resumed training goes on in the order of an uninterrupted one, and all processes of one training agree on it,
    which they do not where the order comes from a generator that dropout draws from, too.
    """

    def __init__(self, size: int, draw: Callable[[int], Sequence[int]], epoch: Callable[[], int]) -> None:
        self._size, self._draw, self._epoch = size, draw, epoch

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        return iter(self._draw(self._epoch()))


def generator(seed: int, epoch: int) -> torch.Generator:
    """The source of chance of one epoch."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def bucketed(lengths: Sequence[int], batch_size: int, chance: torch.Generator) -> list[int]:
    """All indices in batches of like length, the batches in random order; only the last may be short.

    Windows are shuffled, cut into pools, sorted by length within each pool, cut into batches, and the batches are
    shuffled. A sort without that last shuffle runs from the longest to the shortest again and again.
    """
    shuffled: list[int] = torch.randperm(len(lengths), generator=chance).tolist()
    short = shuffled[len(shuffled) - len(shuffled) % batch_size :]
    whole = shuffled[: len(shuffled) - len(short)]
    size = POOL_BATCHES * batch_size
    pools = (sorted(whole[start : start + size], key=lengths.__getitem__) for start in range(0, len(whole), size))
    batches = [pool[start : start + batch_size] for pool in pools for start in range(0, len(pool), batch_size)]
    order = torch.randperm(len(batches), generator=chance).tolist()
    return [index for number in order for index in batches[number]] + short
