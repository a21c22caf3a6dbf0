"""The parts of a page: what is a number stands right, what is text is escaped."""

from __future__ import annotations

import pytest

from nertrail import markup


@pytest.mark.parametrize("text", ["12", "-0.5", "+0.0069", "0.9 (0.8 to 1.0)", "11.12 (batch 1)"])
def test_a_number_stands_right(text: str) -> None:
    assert f"<td class=n>{text}</td>" in markup.table(["a"], [([text], "")])


@pytest.mark.parametrize("text", ["", "a 12", "1.2.3", "12 ms", "1e5x"])
def test_text_stands_left(text: str) -> None:
    assert f"<td>{text}</td>" in markup.table(["a"], [([text], "")])


def test_the_head_of_a_column_of_numbers_stands_over_them() -> None:
    table = markup.table(["name", "value"], [(["a", "1"], ""), (["b", ""], "taken")])
    assert "<th>name</th><th class=n>value</th>" in table
    assert "<tr class='taken'><td>b</td><td></td></tr>" in table


def test_everything_is_escaped() -> None:
    page = markup.page("<t>", [markup.remark("<r>"), markup.quiet("<q>"), markup.table(["<h>"], [(["<c>"], "")]), ""])

    for name in "trqhc":
        assert f"&lt;{name}&gt;" in page and f"<{name}>" not in page


def test_a_page_fits_a_narrow_screen() -> None:
    assert "name='viewport'" in markup.page("t", [])
    assert "<div class=wide><table>" in markup.table([], [(["a"], "")])
