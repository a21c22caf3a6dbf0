"""What ties a tracker to its run dir: the journal it writes to, and the delivery it looks after."""

from __future__ import annotations

from pathlib import Path

from nertrail.tracking.journal import JournalBackend
from nertrail.tracking.receipt import Receipt


class Link:
    def __init__(self, run_dir: Path, destination: str) -> None:
        self.run_dir, self.destination = run_dir, destination
        self.backend = JournalBackend(run_dir)

    @classmethod
    def open(cls, experiment: str, tracking_uri: str | None, run_dir: str | Path | None) -> Link:
        path = Path(run_dir or Path("runs") / experiment).absolute()
        return cls(path, tracking_uri or "")

    def run_id(self, uid: str) -> str | None:
        return None

    def flush(self, timeout: float | None) -> Receipt:
        return Receipt()

    def close(self) -> None:
        self.backend.close()
