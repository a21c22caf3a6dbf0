"""conversion_log.txt: everything a conversion tried, line by line, on disk as it happens."""

from __future__ import annotations

import time
import traceback
from pathlib import Path


class ConversionLog:
    """A callable that appends a line with the seconds since the start; `close` returns the file's path."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._began = time.perf_counter()

    def __call__(self, line: str) -> None:
        self._file.write(f"{time.perf_counter() - self._began:8.2f} s  {line}\n")
        self._file.flush()

    def traceback(self) -> None:
        """Append the traceback of the exception being handled."""
        self(traceback.format_exc().rstrip())

    def close(self) -> Path:
        self._file.close()
        return self.path
