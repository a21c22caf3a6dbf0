"""What the scores mean: spans as sets per text, words by type.

Span scores compare sets of (start, end, type) per text, exact match only. Where IOB2 can hold the spans they equal
seqeval's strict IOB2 mode. Word scores merge B and I of a type and leave `O` out.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from nertrail.errors import DataError
from nertrail.ner.documents import Span

if TYPE_CHECKING:
    from nertrail.ner.details import Details

log = logging.getLogger(__name__)

OUTSIDE = "O"
# MLflow's own rule for metric names (mlflow/utils/validation.py): word characters and / . - blank and colon.
REFUSED = re.compile(r"[^/\w.\- :]")

Confusion = dict[str, dict[str, int]]


class EntityScore(NamedTuple):
    """Span scores of one type; `support` counts its gold spans. All are 0 for a type that is absent."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Scores:
    """The scores of one set of predictions.

    Attributes:
        macro_f1: mean word-level F1 over the types that occur in gold or predicted words.
        macro_f1_span: mean span F1 over the types, those in `absent_types` left out.
        micro_f1_span: span F1 over all types together.
        loss: mean negative log-likelihood per labelled word, handed in.
        per_entity: span scores of every type, absent ones included.
        absent_types: types with neither a gold nor a predicted span.
        confusion: counts of words, gold type → predicted type, with "O" as a type.
        details: intervals, kinds of mistakes and scores of parts, where they were asked for.
    """

    macro_f1: float
    macro_f1_span: float
    micro_f1_span: float
    loss: float
    per_entity: Mapping[str, EntityScore]
    absent_types: tuple[str, ...]
    confusion: Confusion
    details: Details | None = None

    def plain(self) -> dict[str, float]:
        """The four scores."""
        return {
            "macro-f1": self.macro_f1,
            "macro-f1-span": self.macro_f1_span,
            "micro-f1-span": self.micro_f1_span,
            "loss": self.loss,
        }

    def metrics(self) -> dict[str, float]:
        """The four scores; with details also `<score>_ci_low`, `<score>_ci_high` and `errors_<kind>`."""
        return self.plain() if self.details is None else {**self.plain(), **self.details.metrics()}

    def entity_metrics(self) -> dict[str, float]:
        """Return `{entity}_precision`, `_recall`, `_f1` and `_support`, entity names made safe for MLflow.

        With details also `{entity}_f1_ci_low` and `{entity}_f1_ci_high`.

        Raises:
            DataError: two types would be recorded under one name.
        """
        names = safe_names(tuple(self.per_entity))
        return {
            f"{names[type_]}_{field}": float(value)
            for type_ in self.per_entity
            for field, value in self._entity_row(type_).items()
        }

    def document(self) -> dict[str, Any]:
        """Everything as plain data, for a file."""
        return {
            **self.metrics(),
            "per_entity": {type_: self._entity_row(type_) for type_ in self.per_entity},
            "absent_types": list(self.absent_types),
            "confusion": self.confusion,
            **(self.details.document() if self.details is not None else {}),
        }

    def _entity_row(self, type_: str) -> dict[str, float]:
        row: dict[str, float] = self.per_entity[type_]._asdict()
        if self.details is not None:
            row["f1_ci_low"], row["f1_ci_high"] = self.details.intervals.per_entity[type_]
        return row


def safe_names(types: Sequence[str]) -> dict[str, str]:
    """Map each type to the name under which its metrics are recorded.

    Raises:
        DataError: two types would share a name, be it in one split or because a type's name begins with "test_".
    """
    names = {type_: _safe_name(type_) for type_ in types}
    taken: dict[str, str] = {}
    for type_, name in names.items():
        for key in (name, f"test_{name}"):
            if key in taken:
                raise DataError(
                    f"the types {taken[key]!r} and {type_!r} would both be recorded as {key!r}",
                    remedy="rename one of them with data.label_map",
                )
            taken[key] = type_
    return names


def _safe_name(type_: str) -> str:
    name = REFUSED.sub("_", type_)
    # MLflow also refuses names that are not normalised relative paths, such as "a//b", "/a" and "../a".
    if posixpath.normpath(name) != name or name.startswith(("/", "..")):
        name = re.sub(r"^\.\.", "__", name.replace("/", "_"))
    return name


def score(
    gold: Sequence[frozenset[Span]],
    predicted: Sequence[frozenset[Span]],
    gold_tags: Sequence[Sequence[str]],
    predicted_tags: Sequence[Sequence[str]],
    types: Sequence[str],
    loss: float,
) -> Scores:
    """Score predictions against gold, text by text.

    Args:
        gold: per text its gold spans, snapped to words, including those that IOB2 can't hold.
        predicted: per text its predicted spans.
        gold_tags: per text and word the IOB2 tag that was learned.
        predicted_tags: per text and word the decoded IOB2 tag.
        types: the types configured for the data, over which the means are taken.
        loss: mean per labelled word, passed through.

    Raises:
        DataError: a gold or predicted type is not among `types`.
        ValueError: texts or words of gold and prediction do not pair up.
    """
    confusion = _confusion(gold_tags, predicted_tags, types)
    hits, in_gold, in_predicted = _span_counts(gold, predicted)
    _check_types({*in_gold, *in_predicted}, types)
    per_entity = {t: _entity_score(hits[t], in_gold[t], in_predicted[t]) for t in types}
    absent = tuple(t for t in types if not in_gold[t] and not in_predicted[t])
    if not in_gold.total():
        log.warning("the gold holds no entity at all: every score of it is 0")
    return Scores(
        macro_f1=_mean(list(_word_f1s(confusion, types))),
        macro_f1_span=_mean([per_entity[t].f1 for t in types if t not in absent]),
        micro_f1_span=_entity_score(hits.total(), in_gold.total(), in_predicted.total()).f1,
        loss=loss,
        per_entity=per_entity,
        absent_types=absent,
        confusion=confusion,
    )


def _span_counts(
    gold: Sequence[frozenset[Span]], predicted: Sequence[frozenset[Span]]
) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Count by type the spans found in both, in gold and in the prediction."""
    hits, in_gold, in_predicted = Counter[str](), Counter[str](), Counter[str]()
    for expected, found in zip(gold, predicted, strict=True):
        hits.update(span.type for span in expected & found)
        in_gold.update(span.type for span in expected)
        in_predicted.update(span.type for span in found)
    return hits, in_gold, in_predicted


def _confusion(
    gold_tags: Sequence[Sequence[str]], predicted_tags: Sequence[Sequence[str]], types: Sequence[str]
) -> Confusion:
    pairs = Counter[tuple[str, str]]()
    for expected, found in zip(gold_tags, predicted_tags, strict=True):
        pairs.update(zip(map(_type_of, expected), map(_type_of, found), strict=True))
    names = [*types, OUTSIDE]
    _check_types({name for pair in pairs for name in pair}, names)
    return {row: {column: pairs[row, column] for column in names} for row in names}


def _word_f1s(confusion: Confusion, types: Sequence[str]) -> Iterator[float]:
    """Yield the F1 of each type that any gold or predicted word carries."""
    for type_ in types:
        in_gold = sum(confusion[type_].values())
        in_predicted = sum(row[type_] for row in confusion.values())
        if in_gold or in_predicted:
            yield _entity_score(confusion[type_][type_], in_gold, in_predicted).f1


def _entity_score(hits: int, in_gold: int, in_predicted: int) -> EntityScore:
    precision = hits / in_predicted if in_predicted else 0.0
    recall = hits / in_gold if in_gold else 0.0
    both = in_gold + in_predicted
    return EntityScore(precision, recall, 2 * hits / both if both else 0.0, in_gold)


def _type_of(tag: str) -> str:
    """Drop the prefix, at the first hyphen only: types may hold hyphens themselves."""
    return tag if tag == OUTSIDE else tag.split("-", 1)[1]


def _check_types(found: set[str], types: Sequence[str]) -> None:
    unknown = sorted(found.difference(types))
    if unknown:
        raise DataError(
            f"the scored data holds types that are not configured: {', '.join(unknown)}",
            remedy="add them to data.types, or rename or drop them with data.label_map",
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
