"""CoNLL-like data: each quirk met in real corpora, each error with its place and its remedy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nertrail.errors import DataError
from nertrail.ner import conll
from nertrail.ner.readers import Span, read_documents
from reading import Read, entities, line


def test_conll_text_words_and_spans(read: Read):
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
def test_all_tag_schemes_hold_the_same_entities(read: Read, tags):
    (document,), _ = read("\n".join(f"{word} {tag}" for word, tag in zip("abcde", tags.split(), strict=True)))
    assert entities(document) == [("a b", "x"), ("c", "x"), ("d", "y")]


def test_iob1_is_told_from_a_missing_begin(read: Read):
    assert read("a I-x\nb B-x\nc O\n")[1] == {"iob1_entities": 1}
    assert read("a B-x\nb O\nc I-x\n")[1] == {"inside_without_begin": 1}
    assert read("a B-x\nb B-x\nc O\n")[1] == {}


def test_a_type_may_hold_hyphens(read: Read):
    assert entities(read("Dune\tB-creative-work\n")[0][0]) == [("Dune", "creative-work")]


def test_a_blank_line_may_hold_blanks(read: Read):
    documents, counts = read("a\tO\n\t\nb\tO\n \nc\tO\n\n\n\nd\tO\n")
    assert [document.text for document in documents] == ["a", "b", "c", "d"]
    assert counts == {"blank_line_with_whitespace": 2, "extra_blank_lines": 2}


@pytest.mark.parametrize("start", ["-DOCSTART- O", "-DOCSTART-\tO", "-DOCSTART- -X- -X- O", "-DOCSTART-"])
def test_document_starts_end_a_text(read: Read, start):
    documents, counts = read(f"{start}\n\na O\n{start}\nb B-x\n")
    assert [document.text for document in documents] == ["a", "b"]
    assert counts == {"document_starts": 2, "extra_blank_lines": 1}


def test_comments_and_the_token_hash(read: Read):
    (document,), counts = read("#\thttp://a.example\t[2010]\t\n# plain comment\n#\tO\n#tag\tB-x\n")
    assert document.text == "# #tag"
    assert entities(document) == [("#tag", "x")]
    assert counts == {"comment_lines": 2}


def test_a_comment_between_rows_ends_no_text_even_if_it_ends_like_a_tag(read: Read):
    (document,), counts = read("a\tO\n# seen in file O\nb\tO\n")
    assert (document.text, counts) == ("a b", {"comment_lines": 1})


def test_an_empty_token_shifts_no_column(read: Read):
    (document,), counts = read("a\tB-x\n\tI-x\nb\tI-x\n \tB-y\n😀 \tO\n")
    assert document.text == "a b 😀"
    assert entities(document) == [("a b", "x")]
    assert document.words == ((0, 1), (2, 3), (4, 5))
    assert counts == {"empty_token": 2, "entity_of_empty_tokens": 1, "token_with_edge_blank": 1}


def test_blank_cells_at_the_end_of_a_row_are_no_column(read: Read):
    assert entities(read("a\tB-x\t\nb\tO\t \t\n")[0][0]) == [("a", "x")]


def test_odd_characters_stay_and_end_no_line(read: Read):
    tokens = ["\x94", "\u0085", "\u2028", "\x0b", "\x0c", "\ufeff", "\u200b", "\u00ad", "\uf0d8", "\ufffd", "\u00a0"]
    (document,), _ = read("x\tO\n" + "".join(f"{token}\tB-x\n" for token in tokens))
    assert [surface for surface, _ in entities(document)] == tokens


def test_byte_order_mark_and_carriage_returns(read: Read):
    (document,), counts = read(b"\xef\xbb\xbfa\tB-x\r\nb\tO\r\n\r\n")
    assert (document.text, entities(document)) == ("a b", [("a", "x")])
    assert counts == {"byte_order_mark": 1, "carriage_returns": 3}


def test_columns_are_chosen(read: Read):
    rows = "1\tAnn\tB-x\tO\n2\tsings\tO\tB-y\n"
    assert entities(read(rows, token_column=1, tag_column=2)[0][0]) == [("Ann", "x")]
    assert entities(read(rows, token_column=1, tag_column=-1)[0][0]) == [("sings", "y")]


def test_syntactic_phrases_are_no_entities(read: Read):
    (document,), counts = read("Ann NNP B-NP B-per\nsings VB B-VP O\n")
    assert (entities(document), counts) == ([("Ann", "per")], {})


def test_columns_are_detected(read: Read):
    rows = "# from a page\t[1]\n1\tAnn\tB-x\tO\n2\tLee\tI-x\tB-y\n\n1\tof\tO\tO\n"
    documents, counts = read(rows)
    assert [document.text for document in documents] == ["Ann Lee", "of"]
    assert documents[0].spans == (Span(0, 7, "x"), Span(4, 7, "y"))
    assert counts == {"comment_lines": 1, "second_tag_column": 1}


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
def test_conll_errors_name_line_and_remedy(read: Read, content, place, words):
    with pytest.raises(DataError, match=words) as caught:
        read(content)
    assert caught.value.place.endswith(place)
    assert caught.value.remedy


def test_a_missing_column_names_the_columns(read: Read):
    with pytest.raises(DataError, match="the tag in column 4"):
        read("a O\n", tag_column=4)


tags = st.lists(st.sampled_from(["O", *(f"{p}-{t}" for p in "BIES" for t in "xy")]), min_size=1, max_size=12)


@given(tags)
def test_any_tags_give_ordered_entities_that_cover_what_is_tagged(sequence):
    rows = [conll.Row("w", tag, 1) for tag in sequence]
    found = conll._entities(rows, conll.Begins())
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


def test_bytes_that_windows_1252_lacks_stay_one_character_each(read: Read):
    (document,), counts = read(b"caf\xe9\x81 O\n", policies={"not_utf8": "repair"})
    assert (document.text, counts["not_utf8"]) == ("café\x81", 1)
