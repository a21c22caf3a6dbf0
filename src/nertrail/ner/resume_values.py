"""Names, employers, dates and all the other values that fill a synthetic résumé."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable

from nertrail.ner import resume_vocabulary as words
from nertrail.ner.resume_vocabulary import Vocabulary

MAIL_HOSTS = ("example.com", "example.org", "mail.example", "post.example.net")


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
    return f"{local}@{rng.choice(MAIL_HOSTS)}"


def phone(rng: random.Random, _: Vocabulary) -> str:
    """Return a number of a range that is kept free for fiction."""
    area, line = rng.randint(201, 989), f"{rng.randint(100, 199):04d}"
    american = (f"({area}) 555-{line}", f"+1 {area} 555 {line}", f"{area}-555-{line}", f"555.{line}")
    return rng.choice((*american, f"+44 20 7946 {line}"))


def location(rng: random.Random, vocabulary: Vocabulary) -> str:
    city, region = rng.choice(vocabulary.cities).split("/")
    return _weighted(rng, {city: 60, f"{city}, {region}": 40})


def company(rng: random.Random, vocabulary: Vocabulary) -> str:
    stem, last = rng.choice(vocabulary.company_stems), rng.choice(vocabulary.last_names)
    ending = rng.choice(words.COMPANY_ENDINGS)
    like_a_person = f"{rng.choice(vocabulary.first_names)} {last}"
    two_partners = f"{last} & {rng.choice(vocabulary.last_names)}"
    shapes = {f"{stem} {ending}": 50, f"{last} {ending}": 20, stem: 12, two_partners: 10, like_a_person: 6}
    return _weighted(rng, shapes)


def university(rng: random.Random, vocabulary: Vocabulary) -> str:
    city, last = rng.choice(vocabulary.cities).split("/")[0], rng.choice(vocabulary.last_names)
    shapes = {
        f"University of {city}": 30,
        f"{city} State University": 15,
        f"{last} College": 15,
        f"{last} University": 15,
        f"{city} Institute of Technology": 10,
        f"{city} School of Economics": 5,
        f"St. {last} Polytechnic": 5,
    }
    return _weighted(rng, shapes)


def degree(rng: random.Random, vocabulary: Vocabulary) -> str:
    subject, title = rng.choice(vocabulary.subjects), rng.choice(words.DEGREES)
    return _weighted(rng, {f"{title} in {subject}": 60, f"{title} {subject}": 15, "MBA": 10, title: 10, "A levels": 5})


def job_title(rng: random.Random, vocabulary: Vocabulary) -> str:
    role = rng.choice(vocabulary.roles)
    return f"{rng.choice(words.LEVELS)} {role}" if rng.random() < 0.35 else role


def date(rng: random.Random, year: int) -> str:
    month, season = rng.choice(words.MONTHS), rng.choice(("Spring", "Summer", "Autumn"))
    shapes = {
        f"{month} {year}": 40,
        str(year): 30,
        f"{rng.randint(1, 12):02d}/{year}": 15,
        f"{month[:3]} '{year % 100:02d}": 7,
        f"{season} {year}": 8,
        f"{rng.randint(1, 28)} {month} {year}": 5,
    }
    return _weighted(rng, shapes)


def street(rng: random.Random, vocabulary: Vocabulary) -> str:
    kind = rng.choice(("Street", "Road", "Lane", "Avenue"))
    return f"{rng.randint(1, 240)} {rng.choice(vocabulary.last_names)} {kind}"


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
    "SKILL": lambda rng, vocabulary: rng.choice(vocabulary.skills),
    "street": street,
    "thing": _plain(words.THINGS),
    "field": _plain(words.FIELDS),
    "hobby": _plain(words.HOBBIES),
    "language": _plain(words.LANGUAGES),
    "few": lambda rng, _: str(rng.randint(2, 19)),
    # Round numbers and some that could be years.
    "many": lambda rng, _: str(rng.choice((1200, 1998, 2000, 2010, 2024, 4500, 12000))),
}
