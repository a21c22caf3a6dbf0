"""Files in, documents out: each quirk met in real corpora, each error with its place and its remedy."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.errors import ConfigError, DataError
from nertrail.ner import conll
from nertrail.ner.readers import DataSettings, Document, Span, data_version, read_dataset, read_documents


@pytest.fixture
def read(tmp_path):
    """Write content to a file and read it: documents and counts."""

    def read_(content: str | bytes, name: str = "train.conll", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        counts = Counter()
        return read_documents(path, DataSettings(tmp_path, **options), counts), dict(counts)

    return read_


def entities(document: Document) -> list[tuple[str, str]]:
    return [(document.text[span.start : span.end], span.type) for span in document.spans]


def line(**record) -> str:
    return json.dumps(record) + "\n"


# ── CoNLL-like data ──────────────────────────────────────────────────────────────────────────────────────────────


def test_conll_text_words_and_spans(read):
    (document, other), counts = read("Ann\tB-per\nLee\tI-per\nsings\tO\n\nhi\tO\n")
    assert document.text == "Ann Lee sings"
    assert document.words == ((0, 3), (4, 7), (8, 13))
    assert document.spans == (Span(0, 7, "per"),)
    assert document.id.endswith("train.conll:1")
    assert (other.text, other.spans, other.id[-2:]) == ("hi", (), ":5")
    assert counts == {}


@pytest.mark.parametrize(
    "tags",
    [
        "B-x I-x B-x B-y O",
        "I-x I-x B-x I-y O",
        "B-x E-x S-x S-y O",
        "B-x L-x U-x U-y O",
        "B-x E-x I-x I-y O",
        "B-x I-x B-x I-y O",
    ],
    ids=["iob2", "iob1", "bioes", "bilou", "broken bioes", "broken iob2"],
)
def test_all_tag_schemes_hold_the_same_entities(read, tags):
    (document,), _ = read("\n".join(f"{word} {tag}" for word, tag in zip("abcde", tags.split(), strict=True)))
    assert entities(document) == [("a b", "x"), ("c", "x"), ("d", "y")]


def test_iob1_is_told_from_a_missing_begin(read):
    assert read("a I-x\nb B-x\nc O\n")[1] == {"iob1_entities": 1}
    assert read("a B-x\nb O\nc I-x\n")[1] == {"inside_without_begin": 1}
    assert read("a B-x\nb B-x\nc O\n")[1] == {}


def test_a_type_may_hold_hyphens(read):
    assert entities(read("Dune\tB-creative-work\n")[0][0]) == [("Dune", "creative-work")]


def test_a_blank_line_may_hold_blanks(read):
    documents, counts = read("a\tO\n\t\nb\tO\n \nc\tO\n\n\n\nd\tO\n")
    assert [document.text for document in documents] == ["a", "b", "c", "d"]
    assert counts == {"blank_line_with_whitespace": 2}


@pytest.mark.parametrize("start", ["-DOCSTART- O", "-DOCSTART-\tO", "-DOCSTART- -X- -X- O", "-DOCSTART-"])
def test_document_starts_end_a_text(read, start):
    documents, counts = read(f"{start}\n\na O\n{start}\nb B-x\n")
    assert [document.text for document in documents] == ["a", "b"]
    assert counts == {"document_starts": 2}


def test_comments_and_the_token_hash(read):
    (document,), counts = read("#\thttp://a.example\t[2010]\t\n# plain comment\n#\tO\n#tag\tB-x\n")
    assert document.text == "# #tag"
    assert entities(document) == [("#tag", "x")]
    assert counts == {"comment_lines": 2}


def test_an_empty_token_shifts_no_column(read):
    (document,), counts = read("a\tB-x\n\tI-x\nb\tI-x\n \tB-y\n😀 \tO\n")
    assert document.text == "a b 😀"
    assert entities(document) == [("a b", "x")]
    assert document.words == ((0, 1), (2, 3), (4, 5))
    assert counts == {"empty_token": 2, "entity_of_empty_tokens": 1, "token_with_edge_blank": 2}


def test_odd_characters_stay_and_end_no_line(read):
    tokens = ["\x94", "\u0085", "\u2028", "\x0b", "\x0c", "\ufeff", "\u200b", "\u00ad", "\uf0d8", "\ufffd", "\u00a0"]
    (document,), _ = read("x\tO\n" + "".join(f"{token}\tB-x\n" for token in tokens))
    assert [surface for surface, _ in entities(document)] == tokens


def test_byte_order_mark_and_carriage_returns(read):
    (document,), counts = read(b"\xef\xbb\xbfa\tB-x\r\nb\tO\r\n\r\n")
    assert (document.text, entities(document)) == ("a b", [("a", "x")])
    assert counts == {"byte_order_mark": 1, "carriage_returns": 1}


def test_columns_are_chosen(read):
    rows = "1\tAnn\tB-x\tO\n2\tsings\tO\tB-y\n"
    assert entities(read(rows, token_column=1, tag_column=2)[0][0]) == [("Ann", "x")]
    assert entities(read(rows, token_column=1, tag_column=-1)[0][0]) == [("sings", "y")]


def test_two_tag_columns_are_told(read, caplog):
    (document,), counts = read("Ann NNP B-NP B-per\nsings VB B-VP O\n")
    assert entities(document) == [("Ann", "per")]
    assert counts["rows_with_two_tag_columns"] == 2
    assert "data.tag_column" in caplog.text


@pytest.mark.parametrize(
    ("content", "place", "words"),
    [
        ("a O\nb B-x,B-y\n", ":2", "more than one label"),
        ("a O\n\nword\n", ":3", "1 column"),
        ("a O\nb NN\n", ":2", "'NN' is not a tag"),
        ("a O\nb B-\n", ":2", "'B-' is not a tag"),
        ("a\t\n", ":1", "'' is not a tag"),
        ("#a B-x,B-y\n", ":1", "more than one label"),
        (b"a O\nb\xe9 O\n", ":2", "byte 0xe9 is not UTF-8"),
        ("", "train.conll", "no annotated text"),
        ("\n\n", "train.conll", "no annotated text"),
    ],
)
def test_conll_errors_name_line_and_remedy(read, content, place, words):
    with pytest.raises(DataError, match=words) as caught:
        read(content)
    assert caught.value.place.endswith(place)
    assert caught.value.remedy


def test_a_missing_column_names_the_columns(read):
    with pytest.raises(DataError, match="the tag in column 4"):
        read("a O\n", tag_column=4)


tags = st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIES" for t in "xy")]), min_size=1, max_size=12)


@given(tags)
def test_any_tags_give_ordered_entities_that_cover_what_is_tagged(sequence):
    rows = [conll.Row("w", tag, 1) for tag in sequence]
    found = conll._entities(rows, Counter())
    covered = [index for entity in found for index in range(entity.start, entity.stop)]
    assert covered == [index for index, tag in enumerate(sequence) if tag != "O"]
    assert all({sequence[i][2:] for i in range(e.start, e.stop)} == {e.label} for e in found)


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_what_is_written_is_read(tmp_path_factory, data):
    """Any tokens and entities, written as IOB2 and as JSON lines, come back the same."""
    word = st.text(st.characters(exclude_characters="\t\n\r #-", exclude_categories=("Cs",)), min_size=1, max_size=6)
    tokens = data.draw(st.lists(word.filter(lambda w: w == w.strip()), min_size=1, max_size=8))
    cuts = data.draw(
        st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y-z"]), min_size=len(tokens), max_size=len(tokens))
    )
    iob2 = [
        "B-x" if cut == "I-x" and (not i or cuts[i - 1] not in ("B-x", "I-x")) else cut for i, cut in enumerate(cuts)
    ]
    folder = tmp_path_factory.mktemp("written")
    (folder / "a.conll").write_text(
        "".join(f"{t}\t{g}\n" for t, g in zip(tokens, iob2, strict=True)), "utf-8", newline=""
    )
    (document,) = read_documents(folder / "a.conll")
    assert document.text == " ".join(tokens)
    assert [document.text[start:end] for start, end in document.words] == tokens
    assert len(document.spans) == sum(tag.startswith("B-") for tag in iob2)
    (folder / "a.jsonl").write_text(line(text=document.text, entities=document.spans), "utf-8")
    (again,) = read_documents(folder / "a.jsonl")
    assert (again.text, again.spans) == (document.text, document.spans)


# ── JSON with character spans ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["entities", "annotations", "spans", "label"])
@pytest.mark.parametrize(
    "item",
    [[0, 3, "per"], {"start": 0, "end": 3, "label": "per"}, {"start": 0, "end": 3, "type": "per", "text": "Ann"}],
)
def test_json_shapes(read, key, item):
    (document,), counts = read(line(id=7, text="Ann sings", **{key: [item]}), "a.jsonl")
    assert document == Document("7", "Ann sings", (Span(0, 3, "per"),), None)
    assert counts == {}


def test_a_json_suffix_may_hold_an_array_or_lines(read):
    records = [{"text": "Ann", "entities": [[0, 3, "x"]]}, {"text": "]no[", "entities": []}]
    as_array, _ = read(json.dumps(records, indent=2), "a.json")
    as_lines, _ = read("\n\n".join(map(json.dumps, records)), "a.json")
    assert [(d.text, d.spans) for d in as_array] == [(d.text, d.spans) for d in as_lines]
    assert [document.id.rsplit(":", 1)[1] for document in as_array] == ["2", "12"]


def test_prodigy_rows_without_spans_and_rejected_ones(read):
    rows = [line(text="none"), line(text="Ann", spans=[[0, 3, "x"]], answer="accept"), line(text="no", answer="reject")]
    documents, counts = read("".join(rows), "a.jsonl")
    assert [document.text for document in documents] == ["none", "Ann"]
    assert counts == {"records_without_annotation": 1, "answer_not_accept": 1}


def test_spans_are_trimmed_deduplicated_and_overlaps_counted(read):
    spans = [[0, 4, "x"], [0, 3, "x"], [4, 7, "y"], [3, 4, "y"], [4, 11, "x"]]
    (document,), counts = read(line(text="Ann Lee sings", entities=spans), "a.jsonl")
    assert document.spans == (Span(0, 3, "x"), Span(4, 7, "y"), Span(4, 11, "x"))
    assert counts == {"span_with_edge_blanks": 1, "duplicate_spans": 1, "span_of_blanks": 1, "overlapping_spans": 1}


def test_a_leading_blank_is_trimmed_from_the_left(read):
    (document,), _ = read(line(text=" \nAnn ", entities=[[0, 6, "x"]]), "a.jsonl")
    assert entities(document) == [("Ann", "x")]


def test_a_span_whose_own_text_differs_is_counted(read):
    item = {"start": 0, "end": 2, "label": "x", "text": "Ann"}
    assert read(line(text="Ann", entities=[item]), "a.jsonl")[1] == {"span_text_differs": 1}


def test_offsets_count_characters_beyond_the_basic_plane(read):
    (document,), _ = read(line(text="𝔄🙂 Ann\u2028Bo", entities=[[3, 6, "x"], [7, 9, "x"]]), "a.jsonl")
    assert entities(document) == [("Ann", "x"), ("Bo", "x")]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ('{"text": "Ann", "entities": [[0, 3, "x"]]', "broken JSON"),
        ("[" * 100_000, "broken JSON"),
        ('["text"]', "the record is a list"),
        ('{"entities": []}', "has no `text`"),
        ('{"text": null}', "`text` is null"),
        (r'{"text": "\ud83d", "entities": []}', "surrogate"),
        ('{"text": "Ann", "entities": {"a": 1}}', "`entities` is an object"),
        ('{"text": "Ann", "entities": [[0, 3]]}', r"an entity is \[0, 3\]"),
        ('{"text": "Ann", "entities": ["x"]}', 'an entity is "x"'),
        ('{"text": "Ann", "entities": [[0, 3, []]]}', "label is a list"),
        ('{"text": "Ann", "entities": [[0, 3.0, "x"]]}', "end is a number"),
        ('{"text": "Ann", "entities": [[false, 3, "x"]]}', "start is a boolean"),
        ('{"text": "Ann", "entities": [{"start": 0, "label": "x"}]}', "end is null"),
        ('{"text": "Ann", "entities": [[0, 4, "x"]]}', "outside its text of 3 characters"),
        ('{"text": "Ann", "entities": [[-1, 2, "x"]]}', "outside its text"),
        ('{"text": "Ann", "entities": [[2, 2, "x"]]}', "starts at 2 and ends at 2"),
        ('{"text": "Ann", "entities": [[0, 3, ""]]}', "can't name an entity type"),
        ('{"text": "Ann", "entities": [[0, 3, "O"]]}', "can't name an entity type"),
    ],
)
def test_json_errors_name_line_and_remedy(read, record, words):
    good = line(text="Bo", entities=[])
    with pytest.raises(DataError, match=words) as caught:
        read(good + "\n" + record + "\n", "a.jsonl")
    assert caught.value.place.endswith("a.jsonl:3")
    assert caught.value.remedy


def test_an_array_names_the_line_of_its_record(read):
    content = '[\n {"text": "a", "entities": []},\n\n {"text": "b", "entities": [[0, 5, "x"]]}\n]'
    with pytest.raises(DataError, match="outside") as caught:
        read(content, "a.json")
    assert caught.value.place.endswith("a.json:4")
    with pytest.raises(DataError, match="broken JSON") as caught:
        read(content.replace("5,", "5 5,"), "a.json")
    assert caught.value.place.endswith("a.json:4")


def test_data_that_nobody_annotated(read):
    with pytest.raises(DataError, match="no record is annotated"):
        read(line(text="a") + line(text="b", ents=[]), "a.jsonl")


# ── labels, files, splits ────────────────────────────────────────────────────────────────────────────────────────


def test_labels_are_mapped_and_dropped(read):
    content = line(text="Ann in Rome", entities=[[0, 3, "PERSON"], [7, 11, "GPE"]])
    (document,), counts = read(content, "a.jsonl", label_map={"PERSON": "per", "GPE": None}, types=("per",))
    assert entities(document) == [("Ann", "per")]
    assert counts == {"dropped_by_label_map": 1}


@pytest.mark.parametrize(
    ("name", "content"), [("a.conll", "a O\nb B-pre\n"), ("a.jsonl", "\n" + line(text="b", spans=[[0, 1, "pre"]]))]
)
def test_an_unknown_label_names_line_and_nearest_type(read, name, content):
    with pytest.raises(DataError, match="unknown label 'pre'") as caught:
        read(content, name, types=("loc", "per"))
    assert caught.value.place.endswith(f"{name}:2")
    assert "did you mean 'per'" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "documents"),
    [("{ O\n} O\n", 1), ("[\tO\n", 1), ('{"text": "a", "spans": []}\n', 1), ('[\n{"text": "a", "spans": []}]', 1)],
)
def test_content_decides_where_the_suffix_does_not(read, content, documents):
    assert len(read(content, "data.annotated")[0]) == documents
    assert len(read(content, "data.txt")[0]) == documents


@pytest.fixture
def folder(tmp_path):
    """Three splits in three formats, found by their names."""
    (tmp_path / "train.conll").write_text("Ann B-per\nsings O\n\nAnn B-per\nsings O\n\nRome B-loc\n")
    (tmp_path / "dev.jsonl").write_text(line(text="Ann sings", entities=[[0, 3, "per"]]))
    (tmp_path / "test.json").write_text(json.dumps([{"text": "Acme sings", "entities": [[0, 4, "org"]]}]))
    return tmp_path


def test_a_dataset_found_by_convention(folder, caplog):
    dataset = read_dataset(DataSettings(folder))
    assert [len(documents) for documents in dataset.splits.values()] == [3, 1, 1]
    assert dataset.types == ("loc", "org", "per")
    assert dataset.word_unit == "whitespace"
    assert dataset.source == str(folder)
    assert dataset.counts == {
        "train.repeated_texts": 1,
        "validation.texts_also_in_train": 1,
        "test.type_not_in_train.org": 1,
    }
    assert "type org occurs in test but not in train" in caplog.text
    assert pickle.loads(pickle.dumps(dataset)) == dataset


def test_named_files_and_given_types(folder):
    (folder / "validation.jsonl").write_text((folder / "dev.jsonl").read_text())
    dataset = read_dataset(DataSettings(folder, validation="dev.jsonl", types=("per", "org", "loc", "date")))
    assert dataset.types == ("date", "loc", "org", "per")


def test_character_spans_come_in_the_pretokenizers_words(folder):
    (folder / "train.conll").unlink()
    (folder / "train.jsonl").write_text(line(text="Ann", entities=[[0, 3, "per"]]))
    assert read_dataset(DataSettings(folder)).word_unit == "pretokenizer"


def test_several_files_for_one_split(folder):
    (folder / "train.jsonl").write_text(line(text="Ann", entities=[[0, 3, "per"]]))
    with pytest.raises(DataError, match=r"train.conll, train.jsonl") as caught:
        read_dataset(DataSettings(folder))
    assert "data.train" in caught.value.remedy


def test_a_missing_split_lists_what_is_there(folder):
    (folder / "test.json").unlink()
    with pytest.raises(
        DataError, match=r"no file of the test split; the folder holds dev.jsonl, train.conll"
    ) as caught:
        read_dataset(DataSettings(folder))
    assert "data.test" in caught.value.remedy


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("nowhere", {}, "no such folder"),
        ("train.conll", {}, "not a folder"),
        ("", {"train": "gone.conll"}, "No such file"),
        ("", {"test": "."}, "can't read the file"),
    ],
)
def test_missing_folders_and_files(folder, path, options, words):
    with pytest.raises(DataError, match=words) as caught:
        read_dataset(DataSettings(folder / path, **options))
    assert caught.value.remedy


def test_a_train_split_without_entities(folder):
    (folder / "train.conll").write_text("a O\n")
    with pytest.raises(DataError, match="train split holds no entity"):
        read_dataset(DataSettings(folder))


def test_an_unknown_format_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="unknown format 'xml'"):
        DataSettings(tmp_path, format="xml")


def test_data_version_names_split_text_and_spans_only():
    one = Document("a", "Ann", (Span(0, 3, "x"), Span(0, 1, "y")))
    same = Document("b", "Ann", (Span(0, 1, "y"), Span(0, 3, "x")), ((0, 3),))
    version = data_version({"train": [one], "test": []})
    assert version == data_version({"test": [], "train": [same]})
    assert len(version) == 16
    assert int(version, 16) >= 0
    assert version != data_version({"test": [one], "train": []})
    assert version != data_version({"train": [Document("a", "Ann", (Span(0, 3, "x"),))]})
    assert version == "8f4ed4a0a5c3a3a3"


def test_reading_and_scoring_load_no_heavy_library():
    code = (
        "import sys, nertrail.ner.readers, nertrail.ner.scoring, nertrail.ner.resumes;"
        "print([m for m in ('torch', 'transformers', 'mlflow', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ── real corpora ─────────────────────────────────────────────────────────────────────────────────────────────────


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
    counts = Counter()
    documents = read_documents(corpora / "wikigold" / "original" / "wikigold.conll.txt", counts=counts)
    assert len(documents) == 1696
    assert Counter(s.type for d in documents for s in d.spans) == {"LOC": 1014, "PER": 934, "ORG": 898, "MISC": 712}
    assert counts == {"iob1_entities": 3541 + 17, "document_starts": 145}


@pytest.mark.corpora
def test_germeval_has_two_tag_columns(corpora):
    options = DataSettings(corpora, token_column=1, tag_column=2)
    original = read_documents(corpora / "germeval14" / "original" / "NER-de-dev.tsv", options)
    assert contents(original) == contents(read_documents(corpora / "germeval14" / "normalized" / "dev.jsonl"))


@pytest.mark.corpora
def test_fashion_brands_is_prodigys(corpora):
    original = read_documents(corpora / "fashion_brands" / "original" / "fashion_brands_eval.jsonl")
    assert contents(original) == contents(read_documents(corpora / "fashion_brands" / "normalized" / "dev.jsonl"))


@pytest.mark.corpora
def test_ncbi_shares_texts_between_splits(corpora):
    counts = read_dataset(DataSettings(corpora / "ncbi_disease" / "original")).counts
    assert counts["validation.texts_also_in_train"] == 5
    assert counts["test.texts_also_in_train"] == counts["test.texts_also_in_validation"] == 1
