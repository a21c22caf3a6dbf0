"""What is odd about whole texts and splits: repeats, leaks, texts without entities, words nobody can see."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from nertrail.ner.documents import Document, Span
from nertrail.ner.quirks import DROP, Findings

INVISIBLE = frozenset(("Cc", "Cf", "Co", "Cn"))
MARKS = frozenset(("Mn", "Me"))  # without a letter to stand on, an accent or a variation selector is nothing
# What may be no letter: most texts hold none of these, and then no word needs a look.
SUSPECT = re.compile("[^\t\n\r\x20-\x7e\xa0-\xac\xae-\u02ff]")
SELECTORS = re.compile("[\ufe00-\ufe0f]")
ASTRAL = re.compile("[\U00010000-\U0010ffff]")
Documents = tuple[Document, ...]


@dataclass(frozen=True)
class Profile:
    """A split in numbers; words are the given tokens, else what blanks separate."""

    texts: int
    texts_without_entities: int
    words: int
    words_median: int
    words_longest: int
    entities: int
    types: Mapping[str, int]


def profile(documents: Sequence[Document]) -> Profile:
    """Count what a split holds."""
    lengths = sorted(word_count(document) for document in documents)
    types = Counter(span.type for document in documents for span in document.spans)
    return Profile(
        texts=len(documents),
        texts_without_entities=sum(not document.spans for document in documents),
        words=sum(lengths),
        words_median=lengths[len(lengths) // 2] if lengths else 0,
        words_longest=lengths[-1] if lengths else 0,
        entities=types.total(),
        types=dict(sorted(types.items(), key=lambda item: (-item[1], item[0]))),
    )


def word_count(document: Document) -> int:
    """Given tokens of a document, else what blanks separate."""
    return len(document.words) if document.words is not None else len(document.text.split())


def survey(documents: Sequence[Document], findings: Findings, split: str) -> Documents:
    """Note what is odd about a split's texts; return those that the policies leave in it."""
    kept = [document for document in documents if _passes(document, findings, split)]
    return tuple(_without_repeats(kept, findings, split))


def survey_leaks(splits: Mapping[str, Documents], findings: Mapping[str, Findings]) -> dict[str, Documents]:
    """Note texts that a later split shares with an earlier one; return the splits as the policies leave them."""
    left = dict(splits)
    for earlier, later in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if earlier in left and later in left:
            known = {document.text for document in splits[earlier]}
            shared = [document for document in splits[later] if document.text in known]
            policies = {findings[later].meet(f"texts_also_in_{earlier}", document.place) for document in shared}
            if DROP in policies:
                dropped = {document.text for document in shared}
                left[earlier] = tuple(document for document in left[earlier] if document.text not in dropped)
    return left


def survey_types(splits: Mapping[str, Documents], findings: Mapping[str, Findings]) -> dict[str, list[str]]:
    """Note entities whose type train never shows; returns those types by split."""
    known = {span.type for document in splits["train"] for span in document.spans}
    missing: dict[str, set[str]] = {}
    for split, documents in splits.items():
        for document in documents:
            for span in document.spans:
                if span.type not in known:
                    findings[split].meet("type_not_in_train", document.place, f"the type {span.type!r}")
                    missing.setdefault(split, set()).add(span.type)
    return {split: sorted(types) for split, types in missing.items()}


def _passes(document: Document, findings: Findings, split: str) -> bool:
    if SUSPECT.search(document.text):
        _meet_characters(document, findings)
    for _ in range(_adjacent(document)):
        findings.meet("adjacent_entities", document.place)
    return bool(document.spans) or not (
        findings.meet("texts_without_entities", document.place) == DROP and split == "train"
    )


def _without_repeats(documents: Sequence[Document], findings: Findings, split: str) -> list[Document]:
    seen: dict[str, tuple[Span, ...]] = {}
    kept = []
    for document in documents:
        dropped = False
        if document.text in seen:
            dropped = findings.meet("repeated_texts", document.place) == DROP and split == "train"
            if set(seen[document.text]) != set(document.spans):
                findings.meet("repeats_annotated_differently", document.place)
        if not dropped:
            kept.append(document)
        seen.setdefault(document.text, document.spans)
    return kept


def _meet_characters(document: Document, findings: Findings) -> None:
    for _ in range(_invisible_words(document)):
        findings.meet("invisible_words", document.place)
    characters = {character for character in document.text if not character.isspace()}
    if SELECTORS.search(document.text) or any(unicodedata.category(each) in INVISIBLE for each in characters):
        findings.meet("invisible_characters", document.place)
    if ASTRAL.search(document.text):
        findings.meet("astral_characters", document.place)


def _invisible_words(document: Document) -> int:
    ranges = document.words
    words = document.text.split() if ranges is None else [document.text[start:end] for start, end in ranges]
    return sum(all(unicodedata.category(character) in INVISIBLE | MARKS for character in word) for word in words)


def _adjacent(document: Document) -> int:
    """Entities with nothing but blanks between them and one of their type before."""
    pairs = pairwise(sorted(document.spans))
    return sum(
        one.type == next_.type and one.end <= next_.start and not document.text[one.end : next_.start].strip()
        for one, next_ in pairs
    )
