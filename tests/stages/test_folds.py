"""k-fold splits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from nertrail.errors import ConfigError
from nertrail.ner.documents import Document
from nertrail.stages.folds import make_folds


@given(count=st.integers(2, 6), texts=st.integers(12, 30), seed=st.integers(0, 9))
def test_every_document_validates_once(count: int, texts: int, seed: int) -> None:
    documents = tiny.documents(texts)
    folds = make_folds(documents, count, seed)
    validated = [document.id for _, validation in folds for document in validation]
    assert sorted(validated) == sorted(document.id for document in documents)
    for train, validation in folds:
        assert not {document.text for document in train} & {document.text for document in validation}
        assert len(train) + len(validation) == texts


def test_folds_are_alike_in_size_and_types() -> None:
    documents = list({document.text: document for document in tiny.documents(300)}.values())
    folds = make_folds(documents, 5, 0)
    sizes = [len(validation) for _, validation in folds]
    assert max(sizes) - min(sizes) <= 3
    totals = types(documents)
    for _, validation in folds:
        assert all(abs(types(validation)[type_] - count / 5) <= 2 for type_, count in totals.items())


def types(documents: tuple[Document, ...] | list[Document]) -> Counter[str]:
    return Counter(span.type for document in documents for span in document.spans)


def test_folds_follow_their_seed() -> None:
    documents = tiny.documents(12)
    assert make_folds(documents, 3, 1) == make_folds(documents, 3, 1)
    assert make_folds(documents, 3, 1) != make_folds(documents, 3, 2)


@pytest.mark.parametrize("count", [1, 5])
def test_folds_that_cannot_be(count: int) -> None:
    with pytest.raises(ConfigError, match="choose 2 to 4 folds") as caught:
        make_folds(tiny.documents(4), count, 0)
    assert caught.value.place == "sweep.k_folds"


def test_equal_texts_make_one_fold() -> None:
    with pytest.raises(ConfigError, match="2 folds of 1 texts"):
        make_folds(tiny.documents(1) * 4, 2, 0)
