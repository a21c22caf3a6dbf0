"""Writes a text piece by piece and notes where its entities lie."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable

from nertrail.ner import resume_vocabulary as words
from nertrail.ner.documents import Span
from nertrail.ner.resume_vocabulary import Vocabulary

SLOT = re.compile(r"\{(\w+)\}")
SLOPPY_SHARE, SLOPPY_TYPOS, USUAL_TYPOS = 0.2, 0.05, 0.005
LOWER_CASE_SHARE = 0.08
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
# A misspelt address or number would be another address or number.
NEVER_MISSPELT = frozenset({"EMAIL", "PHONE", "DATE"})


class Draft:
    """One résumé in the making: its person, its habits and its text so far.

    Templates hold slots: a slot in capitals becomes an entity of that type, one in small letters plain words.
    """

    def __init__(self, rng: random.Random, vocabulary: Vocabulary) -> None:
        self.rng = rng
        self.spans: list[Span] = []
        self._vocabulary = vocabulary
        self._text = ""
        self._typos = SLOPPY_TYPOS if rng.random() < SLOPPY_SHARE else USUAL_TYPOS
        self._lower = rng.random() < LOWER_CASE_SHARE
        self.owner = person(rng, vocabulary)

    @property
    def text(self) -> str:
        return self._text

    def write(self, template: str) -> None:
        """Append a template with its slots filled."""
        for index, part in enumerate(SLOT.split(template)):
            if index % 2 == 0:
                self._append(self._misspell(part))
            else:
                self._fill(part)

    def _fill(self, slot: str) -> None:
        value = self._value(slot)
        type_ = "NAME" if slot == "REFEREE" else slot
        start = len(self._text)
        self._append(value if type_ in NEVER_MISSPELT else self._misspell(value))
        if type_.isupper():
            self.spans.append(Span(start, len(self._text), type_))

    def _value(self, slot: str) -> str:
        if slot == "NAME":
            return self.owner
        if slot == "EMAIL":
            return email(self.rng, self.owner)
        return MAKERS[slot](self.rng, self._vocabulary)

    def _append(self, piece: str) -> None:
        self._text += piece.lower() if self._lower else piece

    def _misspell(self, piece: str) -> str:
        return re.sub(r"[^\W\d_]{4,}", self._maybe_typo, piece)

    def _maybe_typo(self, match: re.Match[str]) -> str:
        word = match.group()
        if self.rng.random() >= self._typos:
            return word
        at = self.rng.randrange(1, len(word) - 1)
        return self.rng.choice(
            (
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            )
        )


def person(rng: random.Random, vocabulary: Vocabulary) -> str:
    first, last = rng.choice(vocabulary.first_names), rng.choice(vocabulary.last_names)
    middle = f"{rng.choice('ABCDEGHJKLMPRST')}. " if rng.random() < 0.15 else ""
    shape = rng.random()
    if shape < 0.1:
        return f"{last}, {first}"
    return f"{first} {middle}{last}".upper() if shape < 0.2 else f"{first} {middle}{last}"


def email(rng: random.Random, owner: str) -> str:
    plain = unicodedata.normalize("NFKD", owner.lower()).encode("ascii", "ignore").decode()
    parts = re.findall(r"[a-z]{2,}", plain)
    local = rng.choice((".".join(parts), parts[0][0] + parts[-1], f"{parts[-1]}{rng.randint(60, 99)}", "_".join(parts)))
    return f"{local}@{rng.choice(('example.com', 'example.org', 'mail.example', 'post.example.net'))}"


def phone(rng: random.Random, _: Vocabulary) -> str:
    area, line = rng.randint(201, 989), f"{rng.randint(100, 199):04d}"
    return rng.choice(
        (f"({area}) 555-{line}", f"+1 {area} 555 {line}", f"{area}-555-{line}", f"555.{line}", f"+44 20 7946 {line}")
    )


def location(rng: random.Random, vocabulary: Vocabulary) -> str:
    city = rng.choice(vocabulary.cities)
    return f"{city}, {rng.choice(words.REGIONS)}" if rng.random() < 0.35 else city


def company(rng: random.Random, vocabulary: Vocabulary) -> str:
    stem, last = rng.choice(vocabulary.company_stems), rng.choice(vocabulary.last_names)
    ending = rng.choice(words.COMPANY_ENDINGS)
    like_a_person = f"{rng.choice(vocabulary.first_names)} {last}"
    two_partners = f"{last} & {rng.choice(vocabulary.last_names)}"
    return _weighted(
        rng, {f"{stem} {ending}": 50, f"{last} {ending}": 20, two_partners: 10, stem: 12, like_a_person: 4}
    )


def university(rng: random.Random, vocabulary: Vocabulary) -> str:
    city, last = rng.choice(vocabulary.cities), rng.choice(vocabulary.last_names)
    shapes = {
        f"University of {city}": 30, f"{city} State University": 15, f"{last} College": 15, f"{last} University": 15,
        f"{city} Institute of Technology": 10, f"{city} School of Economics": 5, f"St. {last} Polytechnic": 5,
    }  # fmt: skip
    return _weighted(rng, shapes)


def degree(rng: random.Random, vocabulary: Vocabulary) -> str:
    subject = rng.choice(vocabulary.subjects)
    title = rng.choice(
        ("B.Sc.", "M.Sc.", "BA", "Bachelor of Arts", "Bachelor", "Master", "Master of Science", "PhD", "Diploma")
    )
    return _weighted(rng, {f"{title} in {subject}": 60, f"{title} {subject}": 15, "MBA": 10, title: 10, "A levels": 5})


def job_title(rng: random.Random, vocabulary: Vocabulary) -> str:
    role = rng.choice(vocabulary.roles)
    return f"{rng.choice(words.LEVELS)} {role}" if rng.random() < 0.35 else role


def date(rng: random.Random, _: Vocabulary) -> str:
    month, year = rng.choice(MONTHS), rng.randint(1996, 2025)
    shapes = {
        f"{month} {year}": 40, str(year): 30, f"{rng.randint(1, 12):02d}/{year}": 15, f"{month[:3]} '{year % 100:02d}": 7,
        f"{rng.choice(('Spring', 'Summer', 'Autumn'))} {year}": 8, f"{rng.randint(1, 28)} {month} {year}": 5,
    }  # fmt: skip
    return _weighted(rng, shapes)


def street(rng: random.Random, vocabulary: Vocabulary) -> str:
    return (
        f"{rng.randint(1, 240)} {rng.choice(vocabulary.last_names)} {rng.choice(('Street', 'Road', 'Lane', 'Avenue'))}"
    )


def _weighted(rng: random.Random, shapes: dict[str, int]) -> str:
    return rng.choices(list(shapes), list(shapes.values()))[0]


def _plain(values: tuple[str, ...]) -> Callable[[random.Random, Vocabulary], str]:
    return lambda rng, _: rng.choice(values)


MAKERS: dict[str, Callable[[random.Random, Vocabulary], str]] = {
    "REFEREE": person,
    "PHONE": phone,
    "LOCATION": location,
    "COMPANY": company,
    "UNIVERSITY": university,
    "DEGREE": degree,
    "JOB_TITLE": job_title,
    "DATE": date,
    "SKILL": lambda rng, vocabulary: rng.choice(vocabulary.skills),
    "street": street,
    "thing": _plain(words.THINGS),
    "field": _plain(words.FIELDS),
    "hobby": _plain(words.HOBBIES),
    "language": _plain(words.LANGUAGES),
    "few": lambda rng, _: str(rng.randint(2, 19)),
    "many": lambda rng, _: str(rng.choice((1200, 1998, 2000, 2010, 2024, 4500, 12000))),
}
