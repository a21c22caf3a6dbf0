"""Which windows texts call for: one that holds nearly all of them, and others only where they would change much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

import tiny
from nertrail.ner.lengths import candidates, fitting, pieces_of_texts


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(tiny.build_tokenizer(tmp_path)))


def test_pieces_are_counted_with_special_ones_whatever_the_tokenizer_cuts(tokenizer: Tokenizer) -> None:
    assert pieces_of_texts(["", "a", "a " * 900], tokenizer).tolist() == [2, 3, 902]
    assert pieces_of_texts([], tokenizer).tolist() == []


@pytest.mark.parametrize(
    ("pieces", "length"),
    [
        ([], 32),
        ([7] * 100, 32),
        ([32] * 100, 32),
        ([33] * 100, 48),
        ([12] * 99 + [402], 32),  # one of a hundred may be cut
        ([12] * 90 + [102] * 10, 112),
        ([902] * 10, 256),
    ],
)
def test_the_fitting_window_holds_99_of_100_texts(pieces: list[int], length: int) -> None:
    assert fitting(np.array(pieces)) == length


@pytest.mark.parametrize(
    ("pieces", "room", "lengths"),
    [
        ([], 512, (32,)),
        ([30] * 95 + [60] * 5, 512, (64,)),  # half of it would be too short
        ([30] * 96 + [120] * 4, 512, (128,)),  # half of it would cut four of a hundred
        ([30] * 95 + [120] * 5, 512, (128, 64)),
        ([220] * 100, 512, (224, 112)),
        ([300] * 4 + [100] * 96, 512, (256,)),  # neither half nor double changes enough
        ([300] * 5 + [100] * 95, 512, (256, 128, 512)),
        ([900] * 10, 512, (256, 128, 512)),
        ([900] * 10, 300, (256, 128, 300)),
        ([900] * 10, 128, (128, 64)),
    ],
)
def test_half_and_double_are_compared_where_they_change_much(
    pieces: list[int], room: int, lengths: tuple[int, ...]
) -> None:
    assert candidates(np.array(pieces), room) == lengths
