"""Real corpora as published, against their normalized forms."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from nertrail.errors import DataError
from nertrail.ner.quirks import Findings
from nertrail.ner.readers import DataSettings, data_version, read_dataset, read_documents


@pytest.fixture(scope="module")
def corpora() -> Path:
    found = Path(os.environ.get("NERTRAIL_CORPORA", "corpora"))
    if not found.is_dir():
        pytest.skip(f"no corpora in {found}: set NERTRAIL_CORPORA to their folder")
    return found


def contents(documents):
    return [(document.text, document.spans) for document in documents]


@pytest.mark.corpora
def test_wnut17_as_published_equals_its_normalized_forms(corpora):
    names = {"train": "wnut17train.conll", "validation": "emerging.dev.conll", "test": "emerging.test.annotated"}
    original = read_dataset(DataSettings(corpora / "wnut17" / "original", **names))
    assert [len(documents) for documents in original.splits.values()] == [3394, 1009, 1287]
    assert original.types == ("corporation", "creative-work", "group", "location", "person", "product")
    assert original.counts["train.blank_line_with_whitespace"] == 2394
    assert original.counts["train.repeated_texts"] == 103
    for format_ in ("conll", "jsonl"):
        normalized = read_dataset(DataSettings(corpora / "wnut17" / "normalized", format=format_))
        assert data_version(normalized.splits) == data_version(original.splits)


@pytest.mark.corpora
def test_wnut17_undecided_tags_are_refused(corpora):
    with pytest.raises(DataError, match="more than one label"):
        read_documents(corpora / "wnut17" / "original" / "emerging.test.conll")


@pytest.mark.corpora
def test_wikigold_is_iob1(corpora):
    findings = Findings()
    documents = read_documents(corpora / "wikigold" / "original" / "wikigold.conll.txt", findings=findings)
    assert len(documents) == 1696
    assert Counter(s.type for d in documents for s in d.spans) == {"LOC": 1014, "PER": 934, "ORG": 898, "MISC": 712}
    assert findings.counts == {"iob1_entities": 3541 + 17, "document_starts": 145, "extra_blank_lines": 145}


@pytest.mark.corpora
def test_germeval_has_two_tag_columns(corpora):
    file = corpora / "germeval14" / "original" / "NER-de-dev.tsv"
    normalized = contents(read_documents(corpora / "germeval14" / "normalized" / "dev.jsonl"))
    assert contents(read_documents(file, DataSettings(corpora, token_column=1, tag_column=2))) == normalized
    findings = Findings({"second_tag_column": "drop"})
    assert contents(read_documents(file, findings=findings)) == normalized
    assert (findings.counts["second_tag_column"], findings.counts["comment_lines"]) == (212, 2200)


@pytest.mark.corpora
def test_fashion_brands_is_prodigys(corpora):
    original = read_documents(corpora / "fashion_brands" / "original" / "fashion_brands_eval.jsonl")
    assert contents(original) == contents(read_documents(corpora / "fashion_brands" / "normalized" / "dev.jsonl"))


@pytest.mark.corpora
def test_ncbi_shares_texts_between_splits(corpora):
    names = {"train": "train.tsv", "validation": "devel.tsv", "test": "test.tsv"}
    counts = read_dataset(DataSettings(corpora / "ncbi_disease" / "original", **names)).counts
    assert counts["validation.texts_also_in_train"] == 5
    assert counts["test.texts_also_in_train"] == counts["test.texts_also_in_validation"] == 1
