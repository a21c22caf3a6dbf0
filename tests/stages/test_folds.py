"""k-fold splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tiny
from nertrail.errors import ConfigError
from nertrail.stages.folds import make_folds


@given(count=st.integers(2, 6), texts=st.integers(6, 30), seed=st.integers(0, 9))
def test_every_document_validates_once(count: int, texts: int, seed: int) -> None:
    documents = tiny.documents(texts)
    folds = make_folds(documents, count, seed)
    validated = [document.id for _, validation in folds for document in validation]
    assert sorted(validated) == sorted(document.id for document in documents)
    for train, validation in folds:
        assert not {document.id for document in train} & {document.id for document in validation}
        assert len(train) + len(validation) == texts
    sizes = [len(validation) for _, validation in folds]
    assert max(sizes) - min(sizes) <= 1


def test_folds_follow_their_seed() -> None:
    documents = tiny.documents(12)
    assert make_folds(documents, 3, 1) == make_folds(documents, 3, 1)
    assert make_folds(documents, 3, 1) != make_folds(documents, 3, 2)


@pytest.mark.parametrize("count", [1, 5])
def test_folds_that_cannot_be(count: int) -> None:
    with pytest.raises(ConfigError, match="choose 2 to 4 folds") as caught:
        make_folds(tiny.documents(4), count, 0)
    assert caught.value.place == "sweep.k_folds"
