"""Synthetic résumés: annotated text that can be shown, shipped and learned in a minute on a laptop.

Nobody in them exists. They vary in layout, length, spelling and wording; some are longer than a backbone's window, and
validation and test use names, employers, cities, skills and titles that the train split never shows.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from nertrail.ner.documents import Dataset, Document
from nertrail.ner.resume_text import Draft
from nertrail.ner.resume_vocabulary import SPLITS, vocabulary

TYPES = ("COMPANY", "DATE", "DEGREE", "EMAIL", "JOB_TITLE", "LOCATION", "NAME", "PHONE", "SKILL", "UNIVERSITY")
# One résumé in this many runs over 512 word pieces.
LONG_EVERY = 30
LONG_JOBS = 20

HEADERS = (
    "{NAME}\n{LOCATION} | {PHONE} | {EMAIL}\n",
    "Name: {NAME}\nPhone: {PHONE}\nE-mail: {EMAIL}\nAddress: {street}, {LOCATION}\n",
    "CURRICULUM VITAE\n\n{NAME}, {JOB_TITLE}\n{EMAIL} · {PHONE}\n",
    "RESUME OF {NAME}\n{EMAIL}\n{PHONE}\n{LOCATION}\n",
    "{NAME} — {JOB_TITLE} — {LOCATION}\nt {PHONE}, m {EMAIL}\n",
    "Application, ref. 4471-{many}\n{EMAIL} / {NAME}\n{street}\n{LOCATION}\n",
)
SUMMARIES = (
    "{JOB_TITLE} with {few} years in {field}. Strong in {SKILL}, {SKILL} and {SKILL}.",
    "I excel at {SKILL} and like to go where the work is: {field}, {field}, anything.",
    "After {few} years in {field} I may be the {JOB_TITLE} you are looking for.",
    "Swift, reliable, at home in {SKILL}. Looking for work in {LOCATION}.",
    "Team player from {LOCATION}; {few} years of {SKILL}.",
)
JOBS = (
    "{JOB_TITLE}, {COMPANY}, {LOCATION}\n{DATE} – {END}\n",
    "{DATE} to {END}: {JOB_TITLE} at {COMPANY} ({LOCATION})\n",
    "{COMPANY} | {LOCATION} | {DATE} - {END}\n{JOB_TITLE}\n",
    "{COMPANY} — {JOB_TITLE}    {DATE}-{END}\n",
    "{JOB_TITLE} for {COMPANY}, {DATE} until {END}\n",
    "{COMPANY}\n  {DATE} to {END}, {LOCATION}\n  Position: {JOB_TITLE}\n",
)
BULLETS = (
    "Rebuilt the {thing} in {SKILL}, which cut costs by {few} %",
    "Led a team of {few} engineers and reported to the board",
    "Moved {many} customers from {SKILL} to {SKILL}",
    "Trained {few} colleagues in {SKILL}",
    "Opened the office in {LOCATION} and hired {few} people",
    "Won {COMPANY} as a client",
    "Ran the {thing} with {SKILL} and {SKILL}",
    "Wrote the {thing} from scratch; go-live in {DATE}",
    "Promoted to {JOB_TITLE} in {DATE}",
    "Worked with {REFEREE} on the {thing}",
    "Shipped the {thing} to {many} users, with a swift and quiet roll-out",
    "Project Atlas: new {thing}, {few} months ahead of plan",
    "Kept access to the {thing} for {many} people running day and night",
    "Spoke at a spring fair in {LOCATION}",
)
STUDIES = (
    "{DEGREE}, {UNIVERSITY}, {DATE}\n",
    "{UNIVERSITY} ({LOCATION})\n{DEGREE}, {DATE} - {DATE}\n",
    "{DATE}: {DEGREE} from {UNIVERSITY}\n",
    "{UNIVERSITY} | {DEGREE} | {DATE}\n",
    "{DEGREE}, {UNIVERSITY}; thesis on the {thing} of the future\n",
)
SKILL_LINES = (
    "{SKILL}, {SKILL}, {SKILL}, {SKILL}\n",
    "{SKILL} (expert), {SKILL} (basics), {SKILL}\n",
    "• {SKILL}\n• {SKILL}\n• {SKILL}\n",
    "Tools: {SKILL} / {SKILL} / {SKILL}. Spoken: {language}, {language}\n",
    "{SKILL} · {SKILL} · {SKILL} · {SKILL} · {SKILL}\n",
)
CLOSINGS = (
    "Interests: {hobby}, {hobby}; travelled in {LOCATION}\n",
    "Languages: {language} (native), {language} (fluent)\n",
    "Reference: {REFEREE}, {JOB_TITLE}, {COMPANY}, {PHONE}\n",
    "References on request. Available from {DATE}.\n",
    "Page 1 of 2\n",
    "Volunteer for {few} years: {hobby} with children\n",
)
LETTER = (
    "Dear {REFEREE},\n",
    "my name is {NAME} and I work as {JOB_TITLE} in {LOCATION}. ",
    "From {DATE} until {DATE} I was with {COMPANY}, first as {JOB_TITLE}, later as {JOB_TITLE}. ",
    "There I learned {SKILL} and {SKILL} and took care of the {thing}. ",
    "Before that I studied at {UNIVERSITY} and left with a {DEGREE} in {DATE}. ",
    "In May I may move to {LOCATION}. ",
    "{COMPANY} taught me to excel at {SKILL}. ",
    "You can reach me at {EMAIL} or {PHONE}.\n",
)
HEADINGS = {
    "summary": ("Summary", "Profile", "About me"),
    "experience": ("Experience", "Work history", "Employment", "Professional experience"),
    "education": ("Education", "Academic background", "Studies"),
    "skills": ("Skills", "Technical skills", "Knowledge"),
    "closing": ("Other", "Further information", "Miscellaneous"),
}
Section = Callable[[Draft], None]


def make_dataset(train: int = 110, validation: int = 80, test: int = 80, seed: int = 7) -> Dataset:
    """Return a dataset of synthetic résumés; the same arguments give the same texts on every machine."""
    train_, validation_, test_ = (
        tuple(make_resumes(count, seed, split)) for count, split in zip((train, validation, test), SPLITS, strict=True)
    )
    return Dataset(train_, validation_, test_, TYPES, {}, f"synthetic résumés, seed {seed}", "pretokenizer")


def make_resumes(count: int, seed: int, split: str) -> list[Document]:
    """Return the first `count` résumés of a split: "train", "validation" or "test"."""
    return [_resume(seed, split, index) for index in range(count)]


def _resume(seed: int, split: str, index: int) -> Document:
    # A generator of its own for each: a longer list begins with the shorter one.
    draft = Draft(random.Random(f"{seed}-{split}-{index}"), vocabulary(split))
    if index % LONG_EVERY == LONG_EVERY // 4:
        _sections(draft, jobs=LONG_JOBS)
    elif draft.rng.random() < 0.2:
        _letter(draft)
    else:
        _sections(draft, jobs=draft.rng.choice((1, 1, 2)))
    return Document(f"{split}-{index}", draft.text, tuple(draft.spans))


def _letter(draft: Draft) -> None:
    opening, *body, contact = LETTER
    if draft.rng.random() < 0.7:
        draft.write(opening)
    for sentence in body:
        if draft.rng.random() < 0.8:
            draft.write(sentence)
    draft.write(contact)


def _sections(draft: Draft, jobs: int) -> None:
    """Write the header, then the sections in one of several orders, some left out."""
    draft.write(draft.rng.choice(HEADERS))
    heading = _heading_style(draft.rng)
    for name in _order(draft.rng, everything=jobs > 2):
        draft.write(heading(draft.rng.choice(HEADINGS[name])))
        WRITERS[name](draft, jobs)


def _order(rng: random.Random, everything: bool) -> list[str]:
    middle = ["experience", "education", "skills"]
    rng.shuffle(middle)
    first, last = everything or rng.random() < 0.4, everything or rng.random() < 0.5
    return ["summary"] * first + middle[: 3 if everything else rng.choice((2, 3))] + ["closing"] * last


def _heading_style(rng: random.Random) -> Callable[[str], str]:
    styles: Sequence[Callable[[str], str]] = (
        lambda title: f"\n{title.upper()}\n",
        lambda title: f"{title}:\n",
        lambda title: f"\n## {title}\n",
        lambda title: f"--- {title} ---\n",
        lambda title: f"\n\n{' '.join(title.upper())}\n",
    )
    return rng.choice(styles)


def _summary(draft: Draft, _: int) -> None:
    draft.write(draft.rng.choice(SUMMARIES) + "\n")


def _experience(draft: Draft, jobs: int) -> None:
    rng = draft.rng
    layout, bullet = rng.choice(JOBS), rng.choice(("- ", "• ", "* ", "  o ", ""))
    for number in range(jobs):
        job = layout if rng.random() < 0.8 else rng.choice(JOBS)
        until = rng.choice(("present", "today", "now")) if number == 0 and rng.random() < 0.5 else "{DATE}"
        draft.write(job.replace("{END}", until))
        for line in rng.sample(BULLETS, rng.choice((0, 1, 1, 2))):
            draft.write(f"{bullet}{line}\n")


def _education(draft: Draft, _: int) -> None:
    for _ in range(draft.rng.choice((1, 1, 2))):
        draft.write(draft.rng.choice(STUDIES))


def _skills(draft: Draft, _: int) -> None:
    draft.write(draft.rng.choice(SKILL_LINES))


def _closing(draft: Draft, _: int) -> None:
    draft.write(draft.rng.choice(CLOSINGS))


WRITERS: dict[str, Callable[[Draft, int], None]] = {
    "summary": _summary,
    "experience": _experience,
    "education": _education,
    "skills": _skills,
    "closing": _closing,
}
