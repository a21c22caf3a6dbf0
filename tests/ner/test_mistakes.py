"""Kinds of mistakes: by example, and against a pairing done naively."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.ner.documents import Span
from nertrail.ner.mistakes import Mistakes, mistakes

PER, LOC = Span(0, 4, "per"), Span(0, 4, "loc")


@pytest.mark.parametrize(
    ("gold", "predicted", "expected"),
    [
        ({PER}, {PER}, Mistakes()),
        ({PER}, set(), Mistakes(missed=1)),
        (set(), {PER}, Mistakes(spurious=1)),
        ({PER}, {LOC}, Mistakes(type=1)),
        ({PER}, {Span(0, 3, "per")}, Mistakes(boundary=1)),
        ({PER}, {Span(2, 9, "loc")}, Mistakes(type=1)),
        ({PER}, {Span(4, 6, "per")}, Mistakes(missed=1, spurious=1)),  # beside, not over
        ({PER}, {LOC, Span(0, 3, "per")}, Mistakes(type=1, spurious=1)),  # the same characters come first
        ({PER}, {Span(0, 3, "loc"), Span(0, 2, "per")}, Mistakes(boundary=1, spurious=1)),  # then the same type
        ({PER}, {Span(0, 2, "per"), Span(1, 4, "per")}, Mistakes(boundary=1, spurious=1)),
        ({Span(0, 9, "per")}, {Span(0, 4, "per"), Span(5, 9, "per")}, Mistakes(boundary=1, spurious=1)),
        ({PER, LOC}, {PER}, Mistakes(missed=1)),
    ],
)
def test_a_mistake(gold, predicted, expected):
    assert mistakes([frozenset(gold)], [frozenset(predicted)]) == expected


def test_texts_add_up():
    one, other = frozenset({PER}), frozenset({LOC})
    assert mistakes([one, one, one], [other, frozenset(), one]) == Mistakes(type=1, missed=1)


span = st.builds(lambda start, length, type_: Span(start, start + length, type_), st.integers(0, 8), st.integers(1, 4),
                 st.sampled_from(("loc", "per")))  # fmt: skip
spans = st.frozensets(span, max_size=6)


def naive(gold: set[Span], predicted: set[Span]) -> Mistakes:
    """Take the best pair there is, again and again."""
    gold, predicted, kinds = gold - predicted, predicted - gold, {"type": 0, "boundary": 0}
    while True:
        best = None
        for one in sorted(gold):
            for other in sorted(predicted):
                shared = len(set(range(one.start, one.end)) & set(range(other.start, other.end)))
                same = (one.start, one.end) == (other.start, other.end)
                rank = (same, one.type == other.type, shared)
                if shared and (best is None or rank > best[0]):
                    best = rank, one, other
        if best is None:
            return Mistakes(**kinds, missed=len(gold), spurious=len(predicted))
        _, one, other = best
        kinds["boundary" if one.type == other.type else "type"] += 1
        gold, predicted = gold - {one}, predicted - {other}


@given(spans, spans)
def test_equals_pairing_naively(gold, predicted):
    found = mistakes([gold], [predicted])
    assert found == naive(set(gold), set(predicted))
    hits = len(gold & predicted)
    assert hits + found.type + found.boundary + found.missed == len(gold)
    assert hits + found.type + found.boundary + found.spurious == len(predicted)
