"""Raw texts from files: what is a text, and what is told about the rest."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nertrail.errors import DataError
from nertrail.ner.texts import Text, read_texts


def texts(content: bytes, place: str = "a.txt", kind: str = "auto") -> list[Text]:
    return list(read_texts(io.BytesIO(content), place, kind))


@pytest.mark.parametrize(
    "content, place, kind, expected",
    [
        (b"", "a.txt", "auto", []),
        (b"a\n\nb", "a.txt", "auto", [(1, "a"), (2, ""), (3, "b")]),
        (b"a\r\nb \n", "a.txt", "auto", [(1, "a"), (2, "b ")]),
        (b"\xef\xbb\xbfa\n", "a.txt", "auto", [(1, "a")]),
        (b"a\x00\x0cb\x85\n", "a.txt", "lines", None),
        ("a\u2028b\u0085c\n".encode(), "a.txt", "lines", [(1, "a\u2028b\u0085c")]),
        (b"a\nb\n", "a.txt", "text", [(1, "a\nb\n")]),
        (b'{"text": "a", "id": "x"}\n\n{"text": "b\\n", "id": [1]}', "a.jsonl", "auto", [("x", "a"), (3, "b\n")]),
        (b'{"text": "a"}', "-", "jsonl", [(1, "a")]),
        (b'{"text": "a"}', "-", "auto", [(1, '{"text": "a"}')]),
        (b'{"text": "a"}', "A.NDJSON", "auto", [(1, "a")]),
    ],
)
def test_texts(content: bytes, place: str, kind: str, expected: list[tuple[object, str]] | None) -> None:
    if expected is None:
        with pytest.raises(DataError):
            texts(content, place, kind)
    else:
        assert [(text.id, text.text) for text in texts(content, place, kind)] == expected


def test_meta_goes_along() -> None:
    assert texts(b'{"text": "a", "meta": {"page": 3}}\n{"text": "b", "meta": 3}', "a.jsonl") == [
        Text(1, "a", {"page": 3}),
        Text(2, "b"),
    ]


def test_numbers_that_are_no_json_become_null() -> None:
    row = b'{"text": "a", "meta": {"n": NaN, "m": [-Infinity, 1e999], "k": 0.5, "t": "NaN"}}'
    assert texts(row, "a.jsonl") == [Text(1, "a", {"n": None, "m": [None, None], "k": 0.5, "t": "NaN"})]


@pytest.mark.parametrize(
    "own, expected",
    [("true", (1, False)), ("0", (0, True)), ('""', ("", True)), ("null", (1, False)), ("1.5", (1, False))],
)
def test_an_id_is_a_text_or_a_whole_number(own: str, expected: tuple[object, bool]) -> None:
    (found,) = texts(f'{{"text": "a", "id": {own}}}'.encode(), "a.jsonl")
    assert (found.id, found.own_id) == expected
    assert not isinstance(found.id, bool)


@pytest.mark.parametrize(
    "content, encoding",
    [
        ("\ufeffa\nb".encode("utf-16-le"), "utf-16"),
        ("\ufeffa\nb".encode("utf-16-be"), "utf-16"),
        ("\ufeffa\nb".encode("utf-32-le"), "utf-32"),
        ("\u00e4".encode("latin1"), "latin1"),
        (b"a\n\xff\xfe", "latin1"),  # a mark stands at the start only
    ],
)
def test_the_remedy_names_the_encoding(content: bytes, encoding: str) -> None:
    with pytest.raises(DataError, match="is not UTF-8") as caught:
        texts(content)
    assert f"iconv -f {encoding} -t utf-8" in str(caught.value.remedy)


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"text": "a"}\n{"text": \n', r"a\.jsonl:2: broken JSON"),
        (b'{"body": "a", "x": 1}', r'a\.jsonl:1: no "text" with a string in it \(keys body, x\)'),
        (b"{}", r"keys none"),
        (b'["a"]', r'no "text" with a string in it \(list\)'),
        (b'{"text": null}', r'a\.jsonl:1: no "text"'),
        (b"[" * 100_000, r"a\.jsonl:1: "),
        (b'{"text": "\xff"}', r"a\.jsonl:1: is not UTF-8: byte 0xff at 11"),
    ],
)
def test_a_bad_record_is_told_with_its_line(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        texts(content, "a.jsonl")
    assert "→" in str(caught.value)


def test_what_comes_before_a_bad_line_is_read() -> None:
    stream = read_texts(io.BytesIO(b"a\n\xff\n"), "standard input", "lines")
    assert next(stream).text == "a"
    with pytest.raises(DataError, match="standard input:2: is not UTF-8: byte 0xff at 1"):
        next(stream)


@given(st.lists(st.text().filter(lambda text: not {"\n", "\r"} & set(text) and text[:1] != "\ufeff")))
def test_every_line_is_a_text(lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    lone = any("\ud800" <= character <= "\udfff" for line in lines for character in line)
    if lone:
        with pytest.raises(DataError):
            texts(content)
    else:
        assert [text.text for text in texts(content)] == lines


@pytest.mark.parametrize(
    "content, place, kind, warnings",
    [
        (b'{"text": "a"}\n{"text": "b"}\n', "standard input", "auto", 1),
        (b'\xef\xbb\xbf{"text": "a"}\n', "a.txt", "auto", 1),
        (b'{"text": "a"}\n', "standard input", "lines", 0),
        (b'{"text": "a"}\n', "a.jsonl", "auto", 0),
        (b'{"word": "a"}\n', "standard input", "auto", 0),
        (b'a\n{"text": "b"}\n', "standard input", "auto", 0),
    ],
)
def test_warns_of_records_read_as_lines(
    content: bytes, place: str, kind: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    texts(content, place, kind)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [place] * warnings
