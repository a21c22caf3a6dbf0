"""Writes a text piece by piece and notes where its entities lie."""

from __future__ import annotations

import random
import re

from nertrail.ner.documents import Span
from nertrail.ner.resume_values import MAKERS, date, email, person
from nertrail.ner.resume_vocabulary import Vocabulary

SLOT = re.compile(r"\{(\w+)\}")
SLOPPY_SHARE, SLOPPY_TYPOS, USUAL_TYPOS = 0.25, 0.06, 0.005
LOWER_CASE_SHARE = 0.08
YEARS = range(1996, 2026)
# A misspelt address or number would be another address or number.
NEVER_MISSPELT = frozenset({"EMAIL", "PHONE", "DATE"})


class Draft:
    """One résumé in the making: its person, its habits and its text so far.

    Templates hold slots: a slot in capitals becomes an entity of that type, one in small letters plain words.
    """

    def __init__(self, rng: random.Random, vocabulary: Vocabulary) -> None:
        self.rng = rng
        self.spans: list[Span] = []
        self.text = ""
        self._vocabulary = vocabulary
        self._typos = SLOPPY_TYPOS if rng.random() < SLOPPY_SHARE else USUAL_TYPOS
        self._lower = rng.random() < LOWER_CASE_SHARE
        self._owner = person(rng, vocabulary)
        self._years: list[int] = []

    def write(self, template: str) -> None:
        """Append a template with its slots filled, its dates in the order of time."""
        self._years = sorted(self.rng.choices(YEARS, k=template.count("{DATE}")))
        for index, part in enumerate(SLOT.split(template)):
            if index % 2 == 0:
                self._append(self._misspell(part))
            else:
                self._fill(part)

    def _fill(self, slot: str) -> None:
        value = self._value(slot)
        type_ = "NAME" if slot == "REFEREE" else slot
        start = len(self.text)
        self._append(value if type_ in NEVER_MISSPELT else self._misspell(value))
        if type_.isupper():
            self.spans.append(Span(start, len(self.text), type_))

    def _value(self, slot: str) -> str:
        if slot == "NAME":
            return self._owner
        if slot == "EMAIL":
            return email(self.rng, self._owner)
        if slot == "DATE":
            return date(self.rng, self._years.pop(0))
        return MAKERS[slot](self.rng, self._vocabulary)

    def _append(self, piece: str) -> None:
        self.text += piece.lower() if self._lower else piece

    def _misspell(self, piece: str) -> str:
        return re.sub(r"[^\W\d_]{4,}", self._maybe_typo, piece)

    def _maybe_typo(self, match: re.Match[str]) -> str:
        word = match.group()
        if self.rng.random() >= self._typos:
            return word
        at = self.rng.randrange(1, len(word) - 1)
        doubled, dropped = word[:at] + word[at] + word[at:], word[:at] + word[at + 1 :]
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return self.rng.choice((dropped, doubled, swapped))
