"""Names of entity types: metrics are named after them, so not every name will do."""

from __future__ import annotations

from collections.abc import Sequence

from nertrail.errors import DataError
from nertrail.numbers import name_problem
from nertrail.tracking.names import metric_names


def check_types(types: Sequence[str], source: str) -> None:
    """Raise DataError for an entity type that no metric can be named after, or for two that share a metric's name."""
    remedy = "rename it with data.label_map"
    for name in types:
        if problem := name_problem(name):
            raise DataError(f"the entity type {name[:40]!r} {problem}", place=source, remedy=remedy)
    seen: dict[str, str] = {}
    for name, metric in metric_names(types):
        if seen.setdefault(metric, name) != name:
            found = f"the entity types {seen[metric]!r} and {name!r} would both write the metric {metric!r}"
            raise DataError(found, place=source, remedy=remedy)
