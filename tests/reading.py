"""What the tests of the readers share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from nertrail.ner.readers import Document

# Writes content to a file of the test's own folder and reads it: documents and counts.
Read = Callable[..., tuple[list[Document], dict[str, int]]]


def entities(document: Document) -> list[tuple[str, str]]:
    return [(document.text[span.start : span.end], span.type) for span in document.spans]


def line(**record: Any) -> str:
    return json.dumps(record) + "\n"
