"""Makes values fit a server: names it accepts, texts it has room for, no more names than it takes.

What does not fit goes to the run's overflow, which delivery uploads as overflow.json, and is counted: nothing is lost
and nothing else of the same batch is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from nertrail.records import RunRef, Value
from nertrail.tracking.names import safe_name
from nertrail.tracking.profiles import Profile
from nertrail.tracking.protocol import Point

OVERFLOW_TAG = "nertrail.overflow"
DRIFT_TAG = "nertrail.param_drift."
_RESERVED_TAGS = 5  # for the tags that delivery itself adds
_EPOCH_NAMES = ("train_loss", "learning_rate_now")
_RANKS = {"test_": 0.9, "e2e_": 0.7, "eval_": 0.3}  # the share of a server's names that those with this prefix may fill
_UNSTORABLE = re.compile("[\\x00\ud800-\udfff]")  # PostgreSQL has no NUL, and half a surrogate pair is no character
_INTERVALS = (("_low", "_high"), 0.8)


@dataclass
class Fitting:
    """What one run holds on the server already, and what did not fit."""

    profile: Profile
    params: dict[str, str] = field(default_factory=dict)
    metrics: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    overflow: dict[str, Any] = field(default_factory=dict)

    def fit_params(self, values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The params to send, and tags that tell of params which the run holds with another value."""
        send: dict[str, str] = {}
        drift: dict[str, str] = {}
        for raw, value in values.items():
            key = self._name("params", raw, self.profile.key)
            cut = self._cut("params", raw, value, self.profile.param_value)
            if key in self.params:
                drift |= {DRIFT_TAG + key: cut} if self.params[key] != cut else {}
            elif _is_full(self.params, self.profile.params):
                self._spill("params", raw, value)
            else:
                self.params[key] = send[key] = cut
        return send, drift

    def fit_tags(self, values: Mapping[str, str]) -> dict[str, str]:
        """The tags to send."""
        limit = self.profile.tags and self.profile.tags - _RESERVED_TAGS
        send: dict[str, str] = {}
        for raw, value in values.items():
            key = self._name("tags", raw, self.profile.tag_key)
            if key not in self.tags and _is_full(self.tags, limit):
                self._spill("tags", raw, value)
            else:
                self.tags.add(key)
                send[key] = self._cut("tags", raw, value, self.profile.tag_value)
        return send

    def fit_points(self, points: Sequence[Point]) -> list[Point]:
        """The points to send, the names of the contract before others."""
        send = []
        for point in sorted(points, key=lambda point: -_share(point.key)):
            key = self._name("metrics", point.key, self.profile.key)
            if key not in self.metrics and _is_full(self.metrics, self.profile.metrics, _share(point.key)):
                spilled = self.overflow.setdefault("metrics", {}).setdefault(point.key, {})
                spilled[f"{point.step}@{point.at_ms}"] = str(point.value)
            else:
                self.metrics.add(key)
                send.append(point._replace(key=key))
        return send

    def count(self) -> int:
        """How many names are in the overflow."""
        return sum(len(self.overflow.get(kind, {})) for kind in ("params", "metrics", "tags"))

    def _spill(self, kind: str, key: str, value: str) -> None:
        self.overflow.setdefault(kind, {})[key] = value

    def _cut(self, kind: str, key: str, value: str, limit: int) -> str:
        if len(value) > limit:
            self._spill(kind, key, value)
        return value[:limit]

    def _name(self, kind: str, raw: str, limit: int) -> str:
        """A name that the server accepts. A changed one ends in a mark of the old, so that two never become one."""
        safe = safe_name(raw)
        if safe == raw and len(raw) <= limit:
            return raw
        mark = hashlib.sha256(raw.encode("utf-8", "replace")).hexdigest()[:6]
        name = f"{safe[: limit - 7]}.{mark}"
        self.overflow.setdefault("renamed", {}).setdefault(kind, {})[name] = raw
        return name


def texts(values: Mapping[str, Value]) -> dict[str, str]:
    """The values as MLflow shows them."""
    return {key: text(value) for key, value in values.items()}


def text(value: Value) -> str:
    """The value as MLflow shows it, without characters that a database cannot hold.

    References are resolved before they come here, but for a backend used alone.
    """
    if isinstance(value, RunRef):
        return value.uid
    if isinstance(value, tuple):
        return ",".join(ref.uid for ref in value)
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", str(value))


def _is_full(held: Sized, limit: int | None, share: float = 1.0) -> bool:
    return limit is not None and len(held) >= limit * share


def _share(name: str) -> float:
    """The share of the server's names up to which this one may be added: what the contract asks for has it all."""
    if name in _EPOCH_NAMES:
        return _RANKS["eval_"]
    if name.endswith(_INTERVALS[0]):
        return _INTERVALS[1]
    return next((share for prefix, share in _RANKS.items() if name.startswith(prefix)), 1.0)
