"""Where a converted model goes: it is made aside, and takes its place only once it has passed."""

from __future__ import annotations

import shutil
from pathlib import Path

from nertrail.errors import InputError


class Place:
    """The folder of one target below `folder`, and the draft beside it in which the model is made.

    Args:
        file: the model's own file, by which an earlier model is known.
    """

    def __init__(self, folder: Path, target: str, file: str) -> None:
        self.path = folder / target
        self._file = file
        self._aside = folder / f".{target}.draft"
        self.draft, self.scratch = self._aside / target, self._aside / "scratch"

    def check(self, checkpoint: Path) -> None:
        """Raise InputError where the model would take the place of something else than an earlier model."""
        remedy = "choose another folder, with --out"
        if checkpoint.resolve().is_relative_to(self.path.resolve()):
            raise InputError(
                "the model would take the place of its own checkpoint", place=str(self.path), remedy=remedy
            )
        if self.path.is_dir() and ((self.path / self._file).is_file() or not any(self.path.iterdir())):
            return
        if self.path.exists():
            problem = f"holds something else than an earlier {self._file}, which would be lost"
            raise InputError(problem, place=str(self.path), remedy=remedy)

    def begin(self) -> None:
        """Make room for a draft; one that a killed process left goes."""
        shutil.rmtree(self._aside, ignore_errors=True)
        self.scratch.mkdir(parents=True)

    def publish(self) -> None:
        """Put the draft in its place."""
        from nertrail.ner.checkpoint import replace_folder

        replace_folder(self.draft, self.path)

    def discard(self) -> None:
        """Remove what is left aside."""
        shutil.rmtree(self._aside, ignore_errors=True)
