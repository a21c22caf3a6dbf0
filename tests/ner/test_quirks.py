"""Every known quirk under every policy: what becomes of it, that it is counted, and where it is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from nertrail.errors import ConfigError, DataError
from nertrail.ner.quirks import DROP, ERROR, KEEP, QUIRKS, REPAIR, Findings
from nertrail.ner.readers import DataSettings, read_dataset, read_documents

Texts = list[tuple[str, list[tuple[str, str]]]]
"""Texts with the surfaces and types of their entities."""


class Case(NamedTuple):
    """A file (or splits) with one quirk at `line`, and what is read under each policy but `error`."""

    content: str | bytes | dict[str, str]
    line: int
    read: dict[str, Texts]
    name: str = "a.conll"


def record(text: str, *entities: Any, **more: Any) -> str:
    return json.dumps({"text": text, "entities": list(entities), **more}) + "\n"


def studio(*results: list[dict[str, Any]], **data: Any) -> str:
    annotations = [{"result": result} for result in results]
    return json.dumps({"data": data or {"text": "Ann Lee"}, "annotations": annotations}) + "\n"


def label(start: int, end: int, name: str = "x") -> dict[str, Any]:
    return {"type": "labels", "to_name": "text", "value": {"start": start, "end": end, "labels": [name]}}


GOOD = record("Bo", [0, 2, "x"])
BO = ("Bo", [("Bo", "x")])
ANN: Texts = [("Ann Lee", [("Ann", "x")])]
BARE: Texts = [("Ann Lee", [])]
TWO: Texts = [("a", []), ("b", [("b", "x")])]
OWN = {"start": 0, "end": 2, "label": "x", "text": "Ann"}
LONG = "a" * 501
SPLITS = {"train": record("Ann", [0, 3, "x"]), "validation": record("b"), "test": record("c")}

CASES = {
    "byte_order_mark": Case(b"\xef\xbb\xbfb B-x\n", 1, {REPAIR: TWO[1:]}),
    "carriage_returns": Case("a O\n\nb B-x\r\n", 3, {REPAIR: TWO}),
    "not_utf8": Case("a O\n\ncaf\xe9 B-x\n".encode("latin-1"), 3, {REPAIR: [TWO[0], ("café", [("café", "x")])]}),
    "odd_line_breaks": Case("a\u2028b B-x\n", 1, {KEEP: [("a\u2028b", [("a\u2028b", "x")])]}),
    "blank_line_with_whitespace": Case("a\tO\n\t\nb\tB-x\n", 2, {REPAIR: TWO}),
    "extra_blank_lines": Case("a O\n\n\nb B-x\n", 3, {REPAIR: TWO}),
    "comment_lines": Case("a O\n\n# b\nb B-x\n", 3, {REPAIR: TWO}),
    "document_starts": Case("a O\n-DOCSTART-\nb B-x\n", 2, {REPAIR: TWO}),
    "empty_token": Case("a\tB-x\n\tI-x\nb\tI-x\n", 2, {REPAIR: [("a b", [("a b", "x")])]}),
    "token_with_edge_blank": Case("a\tO\n\nb \tB-x\n", 3, {REPAIR: TWO}),
    "token_with_inner_blank": Case("a\tO\nNew York\tB-x\n", 2, {KEEP: [("a New York", [("New York", "x")])]}),
    "entity_of_empty_tokens": Case("a\tO\n\tB-x\n", 2, {DROP: TWO[:1]}),
    "iob1_entities": Case("a O\n\nb I-x\n", 3, {REPAIR: TWO}),
    "inside_without_begin": Case("b B-x\n\nb I-x\n", 3, {REPAIR: [TWO[1], TWO[1]]}),
    "second_tag_column": Case(
        "b\tB-x\tO\nc\tI-x\tB-y\n",
        2,
        {KEEP: [("b c", [("b c", "x"), ("c", "y")])], DROP: [("b c", [("b c", "x")])]},
    ),
    "undecided_tag": Case("a O\n\nb B-x,B-y\n", 3, {REPAIR: TWO, DROP: TWO[:1]}),
    "records_without_annotation": Case(GOOD + '{"text": "Ann Lee"}\n', 2, {KEEP: [BO, *BARE], DROP: [BO]}, "a.jsonl"),
    "answer_not_accept": Case(
        GOOD + record("Ann Lee", [0, 3, "x"], answer="reject"), 2, {DROP: [BO], KEEP: [BO, *ANN]}, "a.jsonl"
    ),
    "empty_text": Case(GOOD + record(" \n"), 2, {DROP: [BO]}, "a.jsonl"),
    "half_surrogate": Case(
        GOOD + r'{"text": "\ud83d Ann", "entities": [[2, 5, "x"]]}', 2, {REPAIR: [BO, ("\ufffd Ann", [("Ann", "x")])]},
        "a.jsonl",
    ),
    "annotators_differ": Case(
        GOOD + studio([label(0, 3)], [label(4, 7)]), 2, {REPAIR: [BO, *ANN], DROP: [BO]}, "a.jsonl"
    ),
    "other_annotations": Case(
        GOOD + studio([label(0, 3), {"type": "choices", "value": {"choices": ["good"]}}]), 2, {DROP: [BO, *ANN]},
        "a.jsonl",
    ),
    "inclusive_end": Case(
        GOOD + record("Ann Lee", OWN), 2,
        {REPAIR: [BO, *ANN], KEEP: [BO, ("Ann Lee", [("An", "x")])], DROP: [BO, *BARE]}, "a.jsonl",
    ),
    "span_text_moved": Case(
        GOOD + record("Ann Lee", {**OWN, "start": 2, "end": 5}), 2,
        {REPAIR: [BO, *ANN], KEEP: [BO, ("Ann Lee", [("n L", "x")])], DROP: [BO, *BARE]}, "a.jsonl",
    ),
    "span_text_lost": Case(
        GOOD + record("Ann Lee", {"start": 0, "end": 3, "label": "x", "text": "Eve"}), 2,
        {KEEP: [BO, *ANN], DROP: [BO, *BARE]}, "a.jsonl",
    ),
    "empty_span": Case(GOOD + record("Ann Lee", [3, 3, "x"]), 2, {DROP: [BO, *BARE]}, "a.jsonl"),
    "span_outside_text": Case(
        GOOD + record("Ann Lee", [4, 9, "x"]), 2,
        {REPAIR: [BO, ("Ann Lee", [("Lee", "x")])], DROP: [BO, *BARE]}, "a.jsonl",
    ),
    "span_without_label": Case(GOOD + record("Ann Lee", [0, 3, []]), 2, {DROP: [BO, *BARE]}, "a.jsonl"),
    "span_with_edge_blanks": Case(GOOD + record("Ann Lee", [0, 4, "x"]), 2, {REPAIR: [BO, *ANN]}, "a.jsonl"),
    "span_of_blanks": Case(GOOD + record("Ann Lee", [3, 4, "x"]), 2, {DROP: [BO, *BARE]}, "a.jsonl"),
    "duplicate_spans": Case(GOOD + record("Ann Lee", [0, 3, "x"], [0, 3, "x"]), 2, {DROP: [BO, *ANN]}, "a.jsonl"),
    "nested_spans": Case(
        GOOD + record("Ann Lee", [0, 7, "y"], [0, 3, "x"]), 2,
        {KEEP: [BO, ("Ann Lee", [("Ann", "x"), ("Ann Lee", "y")])], DROP: [BO, ("Ann Lee", [("Ann Lee", "y")])]},
        "a.jsonl",
    ),
    "crossing_spans": Case(
        GOOD + record("a bb c", [0, 4, "x"], [2, 6, "y"]), 2,
        {KEEP: [BO, ("a bb c", [("a bb", "x"), ("bb c", "y")])], DROP: [BO, ("a bb c", [("a bb", "x")])]}, "a.jsonl",
    ),
    "span_across_lines": Case(
        GOOD + record("Ann\nLee", [0, 7, "x"]), 2,
        {KEEP: [BO, ("Ann\nLee", [("Ann\nLee", "x")])], DROP: [BO, ("Ann\nLee", [])]}, "a.jsonl",
    ),
    "span_cuts_word": Case(
        GOOD + record("Ann Lee", [1, 3, "x"]), 2,
        {KEEP: [BO, ("Ann Lee", [("nn", "x")])], REPAIR: [BO, *ANN], DROP: [BO, *BARE]}, "a.jsonl",
    ),
    "long_spans": Case(
        GOOD + record(LONG, [0, 501, "x"]), 2, {KEEP: [BO, (LONG, [(LONG, "x")])], DROP: [BO, (LONG, [])]}, "a.jsonl"
    ),
    "adjacent_entities": Case(
        {**SPLITS, "train": record("Ann Lee", [0, 3, "x"], [4, 7, "x"])}, 1,
        {KEEP: [("Ann Lee", [("Ann", "x"), ("Lee", "x")])]},
    ),
    "invisible_words": Case(
        {**SPLITS, "train": record("Ann \u200b\ufe0f", [0, 3, "x"])}, 1, {KEEP: [("Ann \u200b\ufe0f", [("Ann", "x")])]}
    ),
    "invisible_characters": Case(
        {**SPLITS, "train": record("Ann Co\u00adop \u2764\ufe0f", [0, 3, "x"])}, 1,
        {KEEP: [("Ann Co\u00adop \u2764\ufe0f", [("Ann", "x")])]},
    ),
    "astral_characters": Case(
        {**SPLITS, "train": record("\U0001f642 Ann", [2, 5, "x"])}, 1, {KEEP: [("\U0001f642 Ann", [("Ann", "x")])]}
    ),
    "texts_without_entities": Case(
        {**SPLITS, "train": GOOD + record("Ann Lee")}, 2, {KEEP: [BO, *BARE], DROP: [BO]}
    ),
    "repeated_texts": Case({**SPLITS, "train": GOOD + GOOD}, 2, {KEEP: [BO, BO], DROP: [BO]}),
    "repeats_annotated_differently": Case(
        {**SPLITS, "train": GOOD + record("Bo", [0, 2, "y"])}, 2, {KEEP: [BO, ("Bo", [("Bo", "y")])]}
    ),
    "texts_also_in_train": Case(
        {**SPLITS, "train": GOOD + record("Ann Lee", [0, 3, "x"]), "test": GOOD}, 1,
        {KEEP: [BO, *ANN], DROP: ANN},
    ),
    "texts_also_in_validation": Case(
        {**SPLITS, "train": GOOD, "test": SPLITS["validation"]}, 1, {KEEP: [BO], DROP: [BO]}
    ),
    "type_not_in_train": Case({**SPLITS, "train": GOOD, "test": record("c", [0, 1, "z"])}, 1, {KEEP: [BO]}),
}  # fmt: skip
PLACED_IN_TEST = ("texts_also_in_train", "texts_also_in_validation", "type_not_in_train")


def test_no_quirk_is_left_out() -> None:
    assert set(CASES) == set(QUIRKS)
    assert {name: set(case.read) | {ERROR} for name, case in CASES.items()} == {
        name: set(quirk.policies) for name, quirk in QUIRKS.items()
    }


def cases() -> Iterator[Any]:
    for name, case in CASES.items():
        for policy in (*case.read, ERROR):
            yield pytest.param(name, policy, id=f"{name}-{policy}")


@pytest.mark.parametrize(("name", "policy"), cases())
def test_a_policy(tmp_path: Path, name: str, policy: str) -> None:
    case = CASES[name]
    if policy == ERROR:
        with pytest.raises(DataError) as caught:
            read(case, tmp_path, {name: policy})
        assert str(caught.value.place).endswith(f"{place(name, case)}:{case.line}")
        assert str(caught.value.remedy)
        return
    texts, counts = read(case, tmp_path, {name: policy})
    assert texts == case.read[policy]
    assert counts[name] == 1


@pytest.mark.parametrize("name", [name for name, quirk in QUIRKS.items() if quirk.default != ERROR])
def test_the_default_is_the_first_policy(tmp_path: Path, name: str) -> None:
    texts, _ = read(CASES[name], tmp_path, {})
    assert texts == CASES[name].read[QUIRKS[name].default]


def read(case: Case, folder: Path, policies: dict[str, str]) -> tuple[Texts, dict[str, int]]:
    """The texts of the file, or of train, and the counts of the file, or of all splits."""
    settings = DataSettings(folder, policies=policies)
    if isinstance(case.content, dict):
        for split, content in case.content.items():
            (folder / f"{split}.jsonl").write_text(content, encoding="utf-8")
        dataset = read_dataset(settings)
        counts = {name.partition(".")[2]: count for name, count in dataset.counts.items()}
        return shown(dataset.train), counts
    raw = case.content if isinstance(case.content, bytes) else case.content.encode("utf-8")
    (folder / case.name).write_bytes(raw)
    findings = Findings(policies)
    return shown(read_documents(folder / case.name, settings, findings)), findings.counts


def shown(documents: Any) -> Texts:
    return [(d.text, [(d.text[s.start : s.end], s.type) for s in d.spans]) for d in documents]


def place(name: str, case: Case) -> str:
    if not isinstance(case.content, dict):
        return case.name
    return "test.jsonl" if name in PLACED_IN_TEST else "train.jsonl"


@pytest.mark.parametrize(
    ("policies", "words"),
    [({"no_such_quirk": "keep"}, "unknown quirk"), ({"long_spans": "repair"}, "unknown policy 'repair'")],
)
def test_unknown_policies(tmp_path: Path, policies: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        DataSettings(tmp_path, policies=policies)
    assert caught.value.place == f"data.policies.{next(iter(policies))}"


def test_lenient_findings_note_what_would_be_refused() -> None:
    findings = Findings(lenient=True)
    assert findings.meet("undecided_tag", "a:1") == REPAIR
    assert (findings.counts, findings.refused) == ({"undecided_tag": 1}, ["undecided_tag"])


def test_the_page_lists_every_quirk_with_its_policies() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name, quirk in QUIRKS.items():
        told = [policy for policy in quirk.policies if policy != ERROR or quirk.default == ERROR]
        effects = "; ".join(f"`{policy}`" + (f": {quirk.effect(policy)}" if policy != ERROR else "") for policy in told)
        meaning = quirk.meaning[0].upper() + quirk.meaning[1:]
        assert f"| `data.policies.{name}` | `{quirk.default}` | {meaning}. {effects} |\n" in page
