"""The order of an epoch: everything once, in batches of like length, and none always first."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.ner.order import POOL_BATCHES, Order, bucketed, generator

LENGTHS = st.lists(st.integers(1, 60), max_size=300)


def batches(lengths: list[int], size: int, epoch: int = 0) -> list[list[int]]:
    order = bucketed(lengths, size, generator(1, epoch))
    return [order[start : start + size] for start in range(0, len(order), size)]


@given(LENGTHS, st.integers(1, 9), st.integers(0, 5))
def test_every_window_comes_once_and_only_the_last_batch_is_short(lengths: list[int], size: int, epoch: int) -> None:
    found = batches(lengths, size, epoch)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in found[:-1])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 9))
def test_whole_batches_of_one_pool_do_not_overlap_in_length(lengths: list[int], size: int) -> None:
    pool = lengths[: size * POOL_BATCHES]
    whole = [sorted(pool[index] for index in batch) for batch in batches(pool, size) if len(batch) == size]
    ranges = sorted((batch[0], batch[-1]) for batch in whole[: len(pool) // size])
    assert all(one[1] <= two[0] for one, two in pairwise(ranges))


def test_neither_long_nor_short_batches_come_first() -> None:
    lengths = list(range(1, 401))
    means = [statistics.fmean(lengths[index] for index in batch) for batch in batches(lengths, 8)]
    first, second = statistics.fmean(means[:25]), statistics.fmean(means[25:])
    assert abs(first - second) < 100, "sorted, they would be 200 apart"
    assert means != sorted(means) and means != sorted(means, reverse=True)


@pytest.mark.parametrize(("other", "same"), [((1, 0), True), ((1, 1), False), ((2, 0), False)])
def test_the_order_follows_seed_and_epoch_alone(other: tuple[int, int], same: bool) -> None:
    lengths = [5, 9, 3] * 20
    assert (bucketed(lengths, 4, generator(1, 0)) == bucketed(lengths, 4, generator(*other))) is same


def test_an_epoch_is_drawn_when_it_begins() -> None:
    epochs = iter([0, 3])
    order = Order(3, lambda epoch: [epoch] * 3, lambda: next(epochs))
    assert (len(order), list(order), list(order)) == (3, [0, 0, 0], [3, 3, 3])
