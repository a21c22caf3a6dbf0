"""What annotated files are known to hold, and what is done about each: keep, repair, drop or refuse, and count.

The default of every quirk loses no text and no entity that says something; where only a loss could go on, it refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nertrail.errors import ConfigError, DataError

ERROR, KEEP, REPAIR, DROP = "error", "keep", "repair", "drop"
LONG = 500  # characters; nobody's name is longer


class Quirk(NamedTuple):
    """One known quirk: what it is, and what each policy does about it; the first policy is the default.

    `harmless` quirks are in most files and change nothing that is learned.
    """

    name: str
    meaning: str
    effects: Mapping[str, str]
    harmless: bool = False

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.effects, ERROR)))

    @property
    def default(self) -> str:
        return self.policies[0]

    def effect(self, policy: str) -> str:
        """What a policy does about the quirk, in words."""
        return self.effects.get(policy, "refused")


_REFUSE = {ERROR: "refused"}
_TEXT, _ENTITY = {DROP: "the text is left out"}, {DROP: "the entity is left out"}
_AS_IS = {KEEP: "stays as it is"}

QUIRKS: dict[str, Quirk] = {
    quirk.name: quirk
    for quirk in (
        # any file
        Quirk("byte_order_mark", "a byte order mark before the text", {REPAIR: "removed"}, harmless=True),
        Quirk("carriage_returns", "a line that ends in CR LF", {REPAIR: "read as LF"}, harmless=True),
        Quirk("not_utf8", "a line that is not UTF-8", {**_REFUSE, REPAIR: "read as Windows-1252"}),
        Quirk(
            "odd_line_breaks",
            "a line with NEL, U+2028, U+2029, a form feed or the like, at which some programs break lines",
            {KEEP: "stays a character of its text"},
            harmless=True,
        ),
        # CoNLL
        Quirk(
            "blank_line_with_whitespace",
            "a blank line that holds blanks or tabs",
            {REPAIR: "ends a text, like an empty one"},
            harmless=True,
        ),
        Quirk(
            "extra_blank_lines", "a blank line after another, or before any text", {REPAIR: "skipped"}, harmless=True
        ),
        Quirk("comment_lines", "a line `# ...` that is no token", {REPAIR: "skipped"}, harmless=True),
        Quirk("document_starts", "-DOCSTART-", {REPAIR: "ends a text"}, harmless=True),
        Quirk("empty_token", "a row without a token", {REPAIR: "left out, its columns stay apart"}),
        Quirk("token_with_edge_blank", "a token with a blank at its edge", {REPAIR: "cut off"}),
        Quirk("token_with_inner_blank", "a token with a blank inside", {KEEP: "stays one word"}),
        Quirk("entity_of_empty_tokens", "an entity whose tokens are all empty", _ENTITY),
        Quirk("iob1_entities", "an entity that begins with I- in a file of IOB1", {REPAIR: "read as B-"}),
        Quirk("inside_without_begin", "I- or E- that continues no entity of its type", {REPAIR: "read as B-"}),
        Quirk(
            "second_tag_column",
            "an entity in a further tag column",
            {KEEP: "read too; of nested ones the outer is learned, all are scored", DROP: "only the first is read"},
        ),
        Quirk(
            "undecided_tag",
            "a tag that holds more than one label",
            {**_REFUSE, REPAIR: "the first is taken", **_TEXT},
        ),
        # records
        Quirk(
            "records_without_annotation",
            "a record without any key for entities",
            {KEEP: "a text without entities", **_TEXT},
            harmless=True,
        ),
        Quirk(
            "answer_not_accept",
            "a record that its annotator rejected, skipped or cancelled",
            {**_TEXT, KEEP: "read like the others"},
        ),
        Quirk("empty_text", "a record without a visible character", _TEXT),
        Quirk("half_surrogate", "half of a surrogate pair in a text", {**_REFUSE, REPAIR: "read as U+FFFD"}),
        Quirk(
            "annotators_differ",
            "annotations of one text that differ",
            {**_REFUSE, REPAIR: "the ground truth or else the first is taken", **_TEXT},
        ),
        Quirk("other_annotations", "a relation, a choice or another annotation that is no entity", {DROP: "not read"}),
        # entities of records
        Quirk(
            "inclusive_end",
            "an entity whose end counts its last character",
            {REPAIR: "the end is moved by one", **_AS_IS, **_ENTITY},
        ),
        Quirk(
            "span_text_moved",
            "an entity whose own text stands elsewhere in the text",
            {REPAIR: "moved to the nearest place where it stands", **_AS_IS, **_ENTITY},
        ),
        Quirk(
            "span_text_lost",
            "an entity whose own text stands nowhere in the text",
            {KEEP: "its offsets are believed", **_ENTITY},
        ),
        Quirk("empty_span", "an entity that starts where it ends, or after", {**_REFUSE, **_ENTITY}),
        Quirk(
            "span_outside_text",
            "an entity that reaches out of its text",
            {**_REFUSE, REPAIR: "cut to the text", **_ENTITY},
        ),
        Quirk("span_without_label", "an entity without a label", {**_REFUSE, **_ENTITY}),
        Quirk("span_with_edge_blanks", "an entity with blanks at its edge", {REPAIR: "cut off"}),
        Quirk("span_of_blanks", "an entity of blanks only", _ENTITY),
        Quirk("duplicate_spans", "an entity that is there twice", {DROP: "once is enough"}),
        Quirk(
            "nested_spans",
            "an entity inside another, or on the same characters",
            {KEEP: "the outer is learned, both are scored", DROP: "the inner is left out"},
        ),
        Quirk(
            "crossing_spans",
            "entities that overlap, none inside the other",
            {KEEP: "the longer is learned, both are scored", DROP: "the shorter is left out"},
        ),
        Quirk("span_across_lines", "an entity that crosses a line break", {**_AS_IS, **_ENTITY}),
        Quirk(
            "span_cuts_word",
            "an entity that begins or ends inside a word",
            {
                KEEP: "scored; learned only if it ends at one of the backbone's words",
                REPAIR: "widened to whole words",
                **_ENTITY,
            },
        ),
        Quirk("long_spans", f"an entity of more than {LONG} characters", {**_AS_IS, **_ENTITY}),
        Quirk("adjacent_entities", "an entity right after one of its type", {KEEP: "they stay two"}, harmless=True),
        # texts and splits
        Quirk(
            "invisible_words",
            "a word of invisible characters only (C1, zero width, private use), which may yield no piece",
            {KEEP: "stays, is predicted as O if no piece comes of it"},
            harmless=True,
        ),
        Quirk(
            "invisible_characters",
            "a text with soft hyphens, zero-width, control or private-use characters",
            {KEEP: "stay, offsets count them"},
            harmless=True,
        ),
        Quirk(
            "astral_characters",
            "a text with characters beyond U+FFFF, which some annotation tools count twice",
            {KEEP: "count as one each"},
            harmless=True,
        ),
        Quirk(
            "texts_without_entities",
            "a text without entities",
            {**_AS_IS, DROP: "left out of train"},
            harmless=True,
        ),
        Quirk("repeated_texts", "a text that is there again in its split", {**_AS_IS, DROP: "left out of train"}),
        Quirk("repeats_annotated_differently", "a repeated text whose entities differ", _AS_IS),
        Quirk("texts_also_in_train", "a text that is in train too", {**_AS_IS, DROP: "left out of train"}),
        Quirk(
            "texts_also_in_validation",
            "a text that is in validation too",
            {**_AS_IS, DROP: "left out of validation"},
        ),
        Quirk("type_not_in_train", "an entity of a type that train never shows", {KEEP: "scored, and missed"}),
    )
}
HARMLESS = frozenset(quirk.name for quirk in QUIRKS.values() if quirk.harmless)


def check_policies(policies: Mapping[str, str]) -> None:
    """Raise ConfigError where a quirk is unknown or can't be treated so."""
    for name, policy in policies.items():
        if name not in QUIRKS:
            raise ConfigError("unknown quirk", place=f"data.policies.{name}", remedy=f"known: {', '.join(QUIRKS)}")
        if policy not in QUIRKS[name].policies:
            remedy = f"use one of {', '.join(QUIRKS[name].policies)}"
            raise ConfigError(f"unknown policy {policy!r}", place=f"data.policies.{name}", remedy=remedy)


class Findings:
    """What was met in one split, and where.

    Args:
        policies: quirk → policy, where it is not the default.
        lenient: what would be refused is noted only, and treated as the quirk's next policy says.
    """

    def __init__(self, policies: Mapping[str, str] | None = None, *, lenient: bool = False) -> None:
        self._policies, self._lenient = policies or {}, lenient
        self.places: dict[str, list[str]] = {}
        self.labels: set[str] = set()  # as the data has them, before any map
        self.dropped_labels = 0

    def policy(self, name: str) -> str:
        """What is to be done about a quirk."""
        return self._policies.get(name, QUIRKS[name].default)

    def meet(self, name: str, place: str, found: str = "", remedy: str = "") -> str:
        """Note a quirk and return what to do about it.

        Raises:
            DataError: the policy is to refuse it.
        """
        self.places.setdefault(name, []).append(place)
        policy = self.policy(name)
        if policy != ERROR:
            return policy
        others = [other for other in QUIRKS[name].policies if other != ERROR]
        if self._lenient:
            return others[0] if others else KEEP
        advice = f"set data.policies.{name} to {' or '.join(others)}"
        raise DataError(found or QUIRKS[name].meaning, place=place, remedy=f"{remedy or 'mend the data'}, or {advice}")

    @property
    def counts(self) -> dict[str, int]:
        """How often each quirk was met; labels that the label map drops are counted beside them."""
        counts = {name: len(places) for name, places in self.places.items()}
        return counts | ({"dropped_by_label_map": self.dropped_labels} if self.dropped_labels else {})

    @property
    def refused(self) -> list[str]:
        """Quirks met that a reading which is not lenient ends at."""
        return [name for name in self.places if self.policy(name) == ERROR]
