"""Real corpora as published, against their normalized forms."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tokenizers import Tokenizer

import tiny
from nertrail.errors import DataError
from nertrail.ner.documents import Span
from nertrail.ner.inspection import inspect
from nertrail.ner.labels import LabelSet
from nertrail.ner.pieces import plain
from nertrail.ner.quirks import Findings
from nertrail.ner.readers import DataSettings, data_version, read_dataset, read_documents
from nertrail.ner.scoring import score
from nertrail.ner.windows import encode


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


# Every corpus, as published and in its normalized forms: how `nertrail data check` is told to read it.
CHECKED = {
    "wnut17/original": ["train=wnut17train.conll", "validation=emerging.dev.conll", "test=emerging.test.annotated"],
    "wnut17/normalized": ["format=conll"],
    "wnut17/normalized ": ["format=jsonl"],
    "ncbi_disease/original": ["validation=devel.tsv"],
    "ncbi_disease/normalized": ["format=conll"],
    "ncbi_disease/normalized ": ["format=jsonl"],
    "wikigold/original/wikigold.conll.txt": ["split={}"],
    "wikigold/normalized/all.conll": ["split={}"],
    "wikigold/normalized/all.jsonl": ["split={}"],
    "fashion_brands/original": ["train=fashion_brands_training.jsonl", "validation=fashion_brands_eval.jsonl"],
    "fashion_brands/normalized": ["format=conll"],
    "fashion_brands/normalized ": ["format=jsonl"],
    "germeval14/original": [],
    "germeval14/normalized": ["format=conll"],
    "germeval14/normalized ": ["format=jsonl"],
}


@pytest.mark.corpora
@pytest.mark.parametrize("name", CHECKED)
def test_every_corpus_can_be_checked(corpora, name):
    from typer.testing import CliRunner

    from nertrail.cli import app

    sets = [text for value in CHECKED[name] for text in ("--set", f"data.{value}")]
    done = CliRunner().invoke(app, ["data", "check", str(corpora / name.strip()), *sets])
    assert (done.exit_code, done.stderr) == (0, ""), done.output


def counted(corpora, corpus: str, split: str) -> dict[str, int]:
    """What stats.json counts in a split, under our names."""
    stats = json.loads((corpora / corpus / "stats.json").read_text(encoding="utf-8"))["splits"][split]
    quirks = stats["quirks"]
    told = {
        "blank_line_with_whitespace": quirks.get("blank_line_with_whitespace", 0),
        "comment_lines": quirks.get("comment_lines", 0),
        "document_starts": quirks.get("docstart_lines", 0),
        "iob1_entities": quirks.get("I_after_O_or_start", 0) + quirks.get("I_after_other_type", 0),
        "second_tag_column": quirks.get("second_level(nested)_entities_ignored", 0),
        "repeated_texts": quirks.get("duplicate_texts_in_split", 0),
        "texts_without_entities": stats["texts_without_entity"],
    }
    return {name: count for name, count in told.items() if count}


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("corpus", "split", "file"),
    [
        ("wnut17", "train", "wnut17train.conll"),
        ("wnut17", "dev", "emerging.dev.conll"),
        ("wnut17", "test", "emerging.test.annotated"),
        ("ncbi_disease", "train", "train.tsv"),
        ("ncbi_disease", "dev", "devel.tsv"),
        ("ncbi_disease", "test", "test.tsv"),
        ("wikigold", "all", "wikigold.conll.txt"),
        ("fashion_brands", "train", "fashion_brands_training.jsonl"),
        ("fashion_brands", "dev", "fashion_brands_eval.jsonl"),
        ("germeval14", "dev", "NER-de-dev.tsv"),
        ("germeval14", "test", "NER-de-test.tsv"),
    ],
)
def test_counts_are_those_of_the_statistics(corpora, corpus, split, file):
    found = inspect(DataSettings(corpora / corpus / "original" / file, policies={"second_tag_column": "drop"}))
    counts = {quirk.name: quirk.count for quirk in found.quirks}
    expected = counted(corpora, corpus, split)
    names = {"repeated_texts", "texts_without_entities", "iob1_entities", "comment_lines", "document_starts"}
    assert {name: count for name, count in counts.items() if name in names | set(expected)} == expected


@pytest.mark.corpora
@pytest.mark.parametrize(
    "file",
    ["wnut17/dev", "ncbi_disease/dev", "wikigold/all", "fashion_brands/dev", "germeval14/dev"],
)
def test_gold_read_back_from_our_own_iob2_scores_1(corpora, tmp_path, file):
    corpus, split = file.split("/")
    documents = read_documents(corpora / corpus / "normalized" / f"{split}.jsonl")
    labels = LabelSet(tuple(sorted({span.type for document in documents for span in document.spans})))
    tokenizer = plain(Tokenizer.from_file(str(tiny.build_tokenizer(tmp_path))))
    tagged = [each for each in encode(documents, tokenizer, labels).documents if each.words]
    write_iob2(tmp_path / "own.conll", tagged, labels)
    again = read_documents(tmp_path / "own.conll")
    gold = [in_words(each.held, each.words) for each in tagged]
    found = [in_words(each.spans, each.words) for each in again]
    tags = [[labels.names[tag] for tag in each.tags] for each in tagged]
    scores = score(gold, found, tags, tags, labels.types, 0.0)
    assert (scores.micro_f1_span, scores.macro_f1_span, scores.macro_f1) == (1.0, 1.0, 1.0)
    assert sum(map(len, gold)) > 100


def write_iob2(path, tagged, labels):
    texts = [
        "".join(f"{each.document.text[start:end]}\t{labels.names[tag]}\n"
                for (start, end), tag in zip(each.words, each.tags, strict=True))
        for each in tagged
    ]  # fmt: skip
    path.write_text("\n".join(texts), encoding="utf-8", newline="")


def in_words(spans, words):
    """The spans with words in place of characters."""
    first, last = {start: n for n, (start, _) in enumerate(words)}, {end: n for n, (_, end) in enumerate(words)}
    return frozenset(Span(first[span.start], last[span.end] + 1, span.type) for span in spans)


TRAINED = {
    "wnut17": {"path": "wnut17/original", "train": "wnut17train.conll", "validation": "emerging.dev.conll",
               "test": "emerging.test.annotated"},
    "ncbi_disease": {"path": "ncbi_disease/original", "validation": "devel.tsv"},
    "wikigold": {"path": "wikigold/original/wikigold.conll.txt", "split": {}},
    "fashion_brands": {"path": "fashion_brands/original", "train": "fashion_brands_training.jsonl",
                       "validation": "fashion_brands_eval.jsonl", "split": {"test": 0.1}},
    "germeval14": {"path": "germeval14/original", "train": "NER-de-test.tsv", "validation": "NER-de-dev.tsv",
                   "split": {"test": 0}, "policies": {"second_tag_column": "keep"}},
}  # fmt: skip


@pytest.mark.corpora
@pytest.mark.soak
@pytest.mark.parametrize("name", TRAINED)
def test_every_corpus_trains(corpora, tmp_path, tiny_backbone, name):
    from e2e.commands import nertrail

    data = {**TRAINED[name], "path": str(corpora / TRAINED[name]["path"])}
    experiment = {
        "data": data,
        "backbones": [{"name": "tiny", "source": str(tiny_backbone)}],
        "windows": {"max_length": "auto"},
        "hyperparameters": {"learning_rate": 5e-3, "batch_size": 32, "precision": "fp32"},
        "training": {"epochs": 1},
    }
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(experiment), encoding="utf-8")
    done = nertrail(tmp_path, "train", "short.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    assert not re.search("Traceback", done.stderr)
    run_dir = tmp_path / "runs" / "short"
    scores = json.loads((run_dir / "checkpoints" / "training" / "metrics.json").read_text(encoding="utf-8"))
    assert scores["validation"]["micro-f1-span_ci_high"] >= scores["validation"]["micro-f1-span"]
    assert (scores["test"] is None) == (name == "germeval14")
    assert (run_dir / "splits.json").is_file() == (name in ("wikigold", "fashion_brands"))
