"""Stratified dealing: shares of texts and types, equal texts together, the seed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.ner.documents import Document, Span
from nertrail.ner.splitting import deal


def made(text: str, *types: str) -> Document:
    return Document(text, text, tuple(Span(i, i + 1, type_) for i, type_ in enumerate(types)))


documents = st.lists(
    st.builds(
        lambda text, types: made(text, *types),
        st.text("abc", min_size=1, max_size=3),
        st.lists(st.sampled_from("xyz"), max_size=3),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(documents, st.integers(2, 5), st.integers(0, 5))
def test_every_document_has_a_part_and_equal_texts_share_it(found, parts, seed):
    part_of = deal(found, [1 / parts] * parts, seed)
    assert len(part_of) == len(found)
    assert set(part_of) <= set(range(parts))
    assert all(len({part for d, part in zip(found, part_of, strict=True) if d.text == text}) == 1
               for text in {d.text for d in found})  # fmt: skip
    assert part_of == deal(found, [1 / parts] * parts, seed)


def corpus() -> list[Document]:
    """1000 texts: a common type, a rarer one beside it, one of ten examples, and texts without any."""
    kinds = {"rare": 10, "both": 90, "common": 400, "none": 500}
    types = {"rare": ("z",), "both": ("x", "y"), "common": ("x",), "none": ()}
    return [made(f"{kind} {n}", *types[kind]) for kind, count in kinds.items() for n in range(count)]


@pytest.mark.parametrize("shares", [[0.8, 0.1, 0.1], [0.2] * 5])
def test_parts_hold_their_share_of_every_type(shares):
    found = corpus()
    part_of = deal(found, shares, 3)
    totals = Counter(span.type for document in found for span in document.spans)
    for part, share in enumerate(shares):
        mine = [document for document, number in zip(found, part_of, strict=True) if number == part]
        assert abs(len(mine) - share * len(found)) <= 5
        types = Counter(span.type for document in mine for span in document.spans)
        for type_, count in totals.items():
            assert abs(types[type_] - share * count) <= 2, (part, type_)


def test_another_seed_deals_otherwise():
    found = corpus()
    assert deal(found, [0.5, 0.5], 1) != deal(found, [0.5, 0.5], 2)
